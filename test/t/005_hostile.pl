# Whatever a caller's session is set to - search_path, temporary objects, own
# operators and functions, odd settings - every function does the same.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";

use ActorstoreTest;
use Test::More;

my $node = new_node('hostile');
new_database($node, 'd');
$node->safe_psql('d', q{
	CREATE ROLE victim;
	CREATE ROLE reader;
	GRANT CREATE ON DATABASE d TO victim;
	GRANT EXECUTE ON FUNCTION actorstore.pause, actorstore.resume, actorstore.redrive, actorstore.purge_dead_letters, actorstore.supervise, actorstore.unsupervise, actorstore.purge_supervision_log TO victim;
	CREATE SCHEMA app;
	GRANT USAGE ON SCHEMA app TO PUBLIC;
	CREATE FUNCTION app.handle(jsonb, jsonb) RETURNS jsonb LANGUAGE sql RETURN $1;
	CREATE SCHEMA hostile;
	GRANT ALL ON SCHEMA hostile TO PUBLIC;
	CREATE FUNCTION hostile.hijacked() RETURNS void LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'hijacked' USING ERRCODE = 'ZZHIJ'; END $$;
});

# Functions and operators that would be found first, and tell.
my @functions = map { my ($name, $result) = split / /; $_ } (
	'now() timestamptz', 'clock_timestamp() timestamptz', 'transaction_timestamp() timestamptz', 'coalesce_all(text) text', 'lower(text) text',
	'length(text) int', 'octet_length(text) int', 'quote_literal(text) text', 'quote_ident(text) text', 'format(text, VARIADIC text[]) text',
	'text(name) text', 'nextval(regclass) bigint', 'current_setting(text) text', 'set_config(text, text, boolean) text', 'to_jsonb(jsonb) jsonb',
	'array_length(text[], int) int', 'unnest(text[]) SETOF text', 'count(text) bigint', 'pg_has_role(oid, text) boolean',
	'has_database_privilege(text, text) boolean', 'regclass(text) regclass', 'hashtext(text) int', 'row_security_active(text) boolean');
my $sql = '';
foreach my $function (@functions)
{
	my ($signature, $result) = $function =~ /^(.*\)) (.*)$/;
	$sql .= "CREATE FUNCTION hostile.$signature RETURNS $result LANGUAGE plpgsql AS 'BEGIN PERFORM hostile.hijacked(); RETURN "
	  . ($result =~ /SETOF/ ? '' : 'NULL') . "; END';\n";
}
foreach my $type ('text', 'name', 'oid', 'bigint', 'int', 'jsonb', 'timestamptz', 'boolean', 'interval')
{
	foreach my $operator ('=', '<>', '<', '>', '<=', '>=')
	{
		my $name = 'op_' . join('_', map { ord } split //, $operator);
		$sql .= "CREATE FUNCTION hostile.$name(a $type, b $type) RETURNS boolean LANGUAGE plpgsql AS 'BEGIN PERFORM hostile.hijacked(); RETURN false; END';\n"
		  . "CREATE OPERATOR hostile.$operator (LEFTARG = $type, RIGHTARG = $type, FUNCTION = hostile.$name);\n";
	}
}
$sql .= "CREATE FUNCTION hostile.cat(a text, b text) RETURNS text LANGUAGE plpgsql AS 'BEGIN PERFORM hostile.hijacked(); RETURN NULL; END';\n"
  . "CREATE OPERATOR hostile.|| (LEFTARG = text, RIGHTARG = text, FUNCTION = hostile.cat);\n";
$sql .= "CREATE TABLE hostile.$_ (actor_type text, actor_id text, value jsonb, version bigint);\n"
  . "CREATE FUNCTION hostile.trap_$_() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM hostile.hijacked(); RETURN NULL; END';\n"
  . "CREATE TRIGGER trap BEFORE INSERT OR UPDATE OR DELETE ON hostile.$_ FOR EACH STATEMENT EXECUTE FUNCTION hostile.trap_$_();\n"
  foreach 'actor', 'undeclared', 'type', 'handler', 'type_grant', 'actor_doc', 'pg_class', 'pg_type', 'pg_proc', 'pg_namespace';
$sql .= "CREATE DOMAIN hostile.jsonb AS pg_catalog.int4; CREATE DOMAIN hostile.regprocedure AS pg_catalog.int4;\n";
$sql .= "GRANT ALL ON ALL TABLES IN SCHEMA hostile TO PUBLIC;\n";
$node->safe_psql('d', $sql);
is(sqlstate($node, 'd', 'SET search_path = hostile, pg_catalog; SELECT now()'), 'ZZHIJ', 'the traps are set');
is(sqlstate($node, 'd', q{SET search_path = hostile, pg_catalog; SELECT 'a'::text = 'a'}), 'ZZHIJ', 'also the operators');

# All that there is, with its results.  Timestamps are compared elsewhere.
my @life = (
	q{SELECT actorstore.create_type('doc', 'logged', 7, 'wait', 3, '2 s', '1 min', '90 s', 'pause')},
	q{SELECT version, value FROM actorstore.insert('doc', 'a', '{"n": 1}')},
	q{SELECT version, value FROM actorstore.insert('doc', 'a', '{"n": 1}')},
	q{SELECT version, value FROM actorstore.insert('loose', 'a', '{"n": 1}')},
	q{SELECT version, value FROM actorstore.get('doc', 'a')},
	q{SELECT version, value FROM actorstore.update('doc', 'a', E'{"n": 2, "b\\\\\\\\": "c''\\\\""}')},
	q{SELECT version, value FROM actorstore.update_versioned('doc', 'a', '{"n": 3}', 1)},
	q{SELECT version, value FROM actorstore.update_versioned('doc', 'a', '{"n": 3}', 1)},
	q{SELECT swapped, version, value FROM actorstore.compare_and_swap('doc', 'a', 2, '{"n": 4}')},
	q{SELECT swapped, version, value FROM actorstore.compare_and_swap('doc', 'a', 2, '{"n": 5}')},
	q{SELECT version, value FROM actorstore.put('doc', 'a', '{"n": 6}')},
	q{SELECT version, value FROM actorstore.put('doc', 'b', '{"n": 6}')},
	q{SELECT version, value FROM actorstore.patch('doc', 'a', '{"n": null, "m": 1}')},
	q{SELECT actorstore.insert_many('doc', '{x,y}', '{1,2}')},
	q{SELECT actorstore.put_many('doc', '{y,z}', '{3,4}')},
	q{SELECT actorstore.put_many('doc', '{y,y}', '{3,4}')},
	q{SELECT actor_id, version, value FROM actorstore.get_many('doc', '{z,y,a}')},
	q{SELECT actor_id, version, value FROM actorstore.get_many('doc', '{z,y,a}', 'update')},
	q{SELECT actor_id, version, value FROM actorstore.list('doc', 'x', NULL, 5)},
	q{SELECT actor_id, version, value FROM actorstore.list('doc', NULL, 'x')},
	q{SELECT version, value FROM actorstore.delete('doc', 'b')},
	q{SELECT version, value FROM actorstore.delete_versioned('doc', 'x', 0)},
	q{SELECT version FROM actorstore.update('nothing', 'x', '0')},
	q{SELECT actorstore.create_type('loose')},
	q{SELECT actorstore.create_type(E'it''s \\\\ "odd"')},
	q{SELECT version, value FROM actorstore.insert(E'it''s \\\\ "odd"', E'''\\\\', '{"n": 1}')},
	q{SELECT actorstore.alter_type('doc', max_attempts => 9, persistence => 'unlogged')},
	q{SELECT actorstore.alter_type('doc', persistence => 'logged')},
	q{SELECT actorstore.alter_type('doc', backoff => '2 min')},
	q{SELECT actorstore.set_handler('doc', 'm', 'app.handle(pg_catalog.jsonb, pg_catalog.jsonb)')},
	q{SELECT actorstore.set_handler('doc', 'm', NULL)},
	q{SELECT actorstore.grant_type('doc', 'reader', '{read,write}')},
	q{SELECT actorstore.revoke_type('doc', 'reader', '{write}')},
	q{SELECT actorstore.drop_type('loose')},
	q{SELECT actorstore.pause('doc')},
	q{SELECT actorstore.send('doc', 'a', 'm', '1', 3, '1 h', dedup_key => 'k', headers => '{"h": 1}', expires_at => '2200-01-01 00:00+00') IS NULL},
	q{SELECT actorstore.send('doc', 'a', 'm', '2', dedup_key => 'k') IS NULL},
	q{SELECT actorstore.send_many('doc', '{a,b}', 'n', '{3,4}')},
	q{SELECT actor_id, message, body, priority, headers, dedup_key FROM actorstore.mailbox ORDER BY message, actor_id},
	q{SELECT actor_id, depth FROM actorstore.stat_actors ORDER BY actor_id},
	q{SELECT depth, delayed FROM actorstore.stat_queues WHERE actor_type OPERATOR(pg_catalog.=) 'doc'},
	q{SELECT actorstore.cancel(0)},
	q{SELECT actorstore.set_timer('doc', 'a', 't', 'm', '{"t": 1}', at => '2200-01-31 00:00+00', every => '1 mon')},
	q{SELECT actor_id, name, message, body, missed FROM actorstore.timers},
	q{SELECT actorstore.cancel_timer('doc', 'a', 't'), actorstore.cancel_timer('doc', 'a', 't')},
	q{SELECT actorstore.join_group('g', 'doc', 'a'), actorstore.join_group('g', 'doc', 'a'), actorstore.join_group('g', 'doc', 'b')},
	q{SELECT actorstore.broadcast('g', 'o', '5')},
	q{SELECT actorstore.leave_group('g', 'doc', 'a')},
	q{SELECT group_name, actor_type, actor_id FROM actorstore.group_members},
	q{SELECT actorstore.supervise('doc', 'a', 'doc', 'z', 'one_for_all', 4, '1 day -1 hour', true, 'permanent')},
	q{SELECT parent_id, child_id, strategy, max_restarts, restart, keep_state FROM actorstore.supervision},
	q{SELECT actorstore.unsupervise('doc', 'z'), actorstore.unsupervise('doc', 'z')},
	q{SELECT actorstore.pause('doc', 'b')},
	q{SELECT actor_id, state FROM actorstore.halted_actor ORDER BY actor_id},
	q{SELECT actorstore.resume('doc', 'b'), actorstore.resume('doc', 'b')},
	q{SELECT actorstore.redrive('doc'), actorstore.purge_dead_letters('doc', 'infinity'), actorstore.purge_supervision_log('doc', '-infinity')},
	q{SELECT actorstore.ask('doc', 'a', 'm')}, q{SELECT actorstore.tell('doc', 'a', 'm')}, q{SELECT actorstore.call('doc', 'a', 'm')},
	q{SELECT actorstore.checkout('w', '{doc}')},
	q{SELECT actorstore.complete(1, 1, '1', '[]', '{}')}, q{SELECT actorstore.fail(1, 1, 'x', '1 s')}, q{SELECT actorstore.extend_lease(1, 1, '1 s')},
	q{SELECT actorstore.has_type_privilege('doc', 'send'), actorstore.slot_of('doc', 'a')},
	q{SELECT actorstore.increment(actorstore.merge('{1:1}'::actorstore.vclock, '{2:1}'::actorstore.vclock), 2)},
	q{SELECT actorstore.type_table('doc')::pg_catalog.oid OPERATOR(pg_catalog.=) 'actorstore.actor_doc'::pg_catalog.regclass::pg_catalog.oid});

sub live
{
	my ($role, @before) = @_;
	my $session = ActorstoreTest::Session->new($node, 'd');
	my @answers;

	$session->query("SET ROLE $role");
	push @answers, $session->query($_) foreach @before;
	is(join('', grep { /ERROR/ } @answers), '', 'the session is as hostile as it should be') if @before;
	@answers = map { $session->query($_) } @life;
	$session->query('RESET ROLE; RESET ALL; DISCARD ALL');
	push @answers, $session->query(q{SELECT actor_type, actor_id, version, value FROM actorstore.actor ORDER BY 1, 2});
	push @answers, $session->query(q{SELECT actor_type, declared, persistence, mailbox_limit, on_full, max_attempts, backoff, turn_timeout FROM actorstore.type ORDER BY 1});
	push @answers, $session->query(q{SELECT actor_type, grantee, privilege FROM actorstore.type_grant WHERE grantee = 'reader'::regrole ORDER BY 1, 3});
	push @answers, $session->query(q{SELECT c.oid::regclass, relpersistence, relreplident, reloptions, reltablespace,
		(SELECT amname FROM pg_am WHERE pg_am.oid = relam) FROM pg_class AS c WHERE relispartition AND relkind = 'r' ORDER BY relname});
	$session->query('SELECT actorstore.drop_type(actor_type) FROM (SELECT actor_type FROM actorstore.type ORDER BY 1) AS t');
	$session->quit;
	return \@answers;
}

my %expected = map { $_ => live($_) } 'postgres', 'victim';
is_deeply($expected{victim}, $expected{postgres}, 'as one role, so as another');
is(scalar(grep { /ERROR/ } @{ $expected{postgres} }), 11, 'the errors that belong to it');
is($expected{postgres}[1], '0|{"n": 1}', 'and answers');

my @temporary = map { ("CREATE TEMP TABLE $_ (a text, b text)") } 'actor', 'type', 'handler', 'type_grant', 'undeclared', 'actor_doc', 'pg_class';
my %hostility = (
	'search_path' => ['SET search_path = hostile, pg_catalog'],
	'search_path without pg_catalog' => ['SET search_path = hostile'],
	'search_path of nothing' => [q{SET search_path = ''}],
	'search_path of nonsense' => [q{SET search_path = "it's", "odd ""name""", nowhere}],
	'temporary tables' => [ @temporary, 'SET search_path = pg_temp, hostile, pg_catalog' ],
	'schema actorstore last' => ['SET search_path = hostile, pg_catalog, actorstore'],
	'standard_conforming_strings' => [ 'SET escape_string_warning = off', 'SET backslash_quote = on', 'SET standard_conforming_strings = off' ],
	'quote_all_identifiers' => ['SET quote_all_identifiers = on'],
	'formats' => [ q{SET DateStyle = 'SQL, DMY'}, q{SET IntervalStyle = 'sql_standard'}, 'SET extra_float_digits = -15', q{SET bytea_output = 'escape'} ],
	'time zone' => [q{SET TimeZone = 'Pacific/Kiritimati'}],
	'planner' => [ map { "SET $_ = off" } 'enable_seqscan', 'enable_indexscan', 'enable_indexonlyscan', 'enable_bitmapscan', 'enable_nestloop', 'enable_hashjoin' ],
	'generic plans' => ['SET plan_cache_mode = force_generic_plan'],
	'parallel' => [ 'SET parallel_setup_cost = 0', 'SET parallel_tuple_cost = 0', 'SET min_parallel_table_scan_size = 0' ],
	'row security' => ['SET row_security = off'],
	'null' => [ 'SET transform_null_equals = on', 'SET array_nulls = on' ],
	'messages' => [ 'SET client_min_messages = error', q{SET xmloption = 'document'}, 'SET check_function_bodies = off' ],
	'statement memory' => [ q{SET work_mem = '64kB'}, q{SET maintenance_work_mem = '1MB'} ]);
$hostility{'replica'} = ['SET session_replication_role = replica'];
foreach my $name (sort keys %hostility)
{
	foreach my $role ('postgres', 'victim')
	{
		next if $name eq 'replica' && $role ne 'postgres';
		is_deeply(live($role, @{ $hostility{$name} }), $expected{$role}, "$name, as $role");
	}
}

# Defaults for new tables are the session's own business, so long as they
# allow a heap: no other access method can hold what the functions write.
is($node->safe_psql('d', q{SELECT count(*) FROM pg_class AS c JOIN pg_am AS a ON a.oid = c.relam WHERE relispartition AND relkind = 'r' AND amname <> 'heap'}), '0', 'heaps');

# A change of the registry made where triggers do not fire is seen by others all the same.
my ($first, $second) = map { ActorstoreTest::Session->new($node, 'd') } 1 .. 2;
is($first->query(q{SELECT actorstore.get('seen', 'a') IS NULL}), 't', 'a type that is not there');
is($second->query(q{SET session_replication_role = replica; SELECT actorstore.create_type('seen'); SELECT version FROM actorstore.insert('seen', 'a', '1')}), "\n0", 'is made as a replica');
is($first->query(q{SELECT value FROM actorstore.get('seen', 'a')}), '1', 'and seen');
is($second->query(q{SELECT actorstore.drop_type('seen')}), '', 'and dropped');
is($first->query(q{SELECT actorstore.get('seen', 'a') IS NULL}), 't', 'and no longer seen');
$_->quit foreach $first, $second;

$node->stop;
done_testing();
