-- On one primary, once both are nodes.
SET ROLE teller;
SELECT actorstore.create_type('account'), actorstore.create_type('book', mailbox_limit => 1000000) \g /dev/null
SELECT actorstore.set_handler('book', 'note', 'bank.note(jsonb, jsonb)') \g /dev/null
SELECT actorstore.insert_many('account', array_agg('a' || n), array_agg('{"balance": 1000}'::jsonb)) FROM generate_series(1, 100) AS n \g /dev/null
