# Slots move to another node with all that is in them, under load: nothing is
# lost or doubled, and each sender's messages keep their order.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";

use ActorstoreTest;
use Test::More;

my @nodes = new_cluster('one', 'two', { settings => "actorstore.resolver_interval = 100\nmax_worker_processes = 16" });
my ($one, $two) = @nodes;

# What is published forbids no row to leave (134_publication.pl).
$_->safe_psql('d', 'CREATE PUBLICATION everything FOR ALL TABLES') foreach @nodes;

# All actors are on one: it alone has a weight.
$one->safe_psql('d', q{SELECT actorstore.set_node_weight('two', 0)});
is($one->safe_psql('d', q{SELECT count(*) FROM actorstore.placement WHERE node_name = 'one'}), '4096', 'one owns all slots');
$_->safe_psql('d', q{
	CREATE TABLE log (n bigint GENERATED ALWAYS AS IDENTITY, actor_id text, body jsonb);
	CREATE FUNCTION note(state jsonb, body jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
	BEGIN
		INSERT INTO log (actor_id, body) VALUES (body ->> 'to', body);
		RETURN jsonb_build_object('n', coalesce((state -> 'n')::int, 0) + 1);
	END $$;
	CREATE FUNCTION count_up(state jsonb, body jsonb) RETURNS jsonb LANGUAGE sql
		RETURN jsonb_build_object('n', coalesce((state -> 'n')::int, 0) + 1);}) foreach @nodes;
declare_loosely($one, 'd', $_) foreach qw(loose counter);
$one->safe_psql('d', q{
	SELECT actorstore.create_type('sink');
	SELECT actorstore.set_handler('sink', 'note', 'note(jsonb,jsonb)');
	SELECT actorstore.create_type('asked');
	SELECT actorstore.set_handler('asked', 'count', 'count_up(jsonb,jsonb)');
	SELECT actorstore.create_type('thing');
	SELECT actorstore.create_type('quiet');
	SELECT actorstore.create_type('nobody');
	SELECT count(actorstore.insert('thing', i::text, jsonb_build_object('i', i))) FROM generate_series(1, 3000) AS i;
	SELECT count(actorstore.update('thing', i::text, jsonb_build_object('i', i, 'null', NULL, 'text', E'a"b\\\\c,(d)''é'))) FROM generate_series(1, 1000) AS i;
	SELECT count(actorstore.put('loose', i::text, 'null')) FROM generate_series(1, 100) AS i;
	SELECT actorstore.pause('quiet', i::text) FROM generate_series(1, 50) AS i;
	SELECT actorstore.send('quiet', (i % 50 + 1)::text, 'm' || i, CASE WHEN i % 3 > 0 THEN 'null'::jsonb END, i % 8,
		dedup_key => 'k' || i, headers => '{"h": [1, null]}', expires_at => 'tomorrow') FROM generate_series(1, 500) AS i;
	SELECT actorstore.send('quiet', (i % 50 + 1)::text, 'later' || i, delay => '1 day') FROM generate_series(1, 100) AS i;
	SELECT actorstore.set_timer('quiet', i::text, 'daily', 'tick', '[1]', after => '1 day', every => '1 day') FROM generate_series(1, 50) AS i;
	SELECT actorstore.join_group('g', 'quiet', i::text) FROM generate_series(1, 20) AS i;
	SELECT actorstore.send('nobody', i::text, 'x') FROM generate_series(1, 20) AS i;
});

# What there is, wherever it is: but for positions, and types' own rows
my %contents = (
	actor => q{SELECT a::text FROM (SELECT actor_type, actor_id, value, version, created_at, updated_at FROM actorstore.actor WHERE actor_type <> 'sink') AS a},
	message => q{SELECT row(message_id, actor_type, actor_id, message, body, key_hash, priority, lane, attempts, sent_at, due, expires_at, headers, sender_type, sender_id, dedup_key)::text FROM actorstore.message WHERE actor_type = 'quiet'},
	order => q{SELECT row(actor_type, actor_id, lane, array_agg(message_id ORDER BY position))::text FROM actorstore.message WHERE actor_type = 'quiet' GROUP BY actor_type, actor_id, lane},
	timer => q{SELECT t::text FROM actorstore.timer AS t},
	dedup => q{SELECT d::text FROM actorstore.dedup AS d},
	halted => q{SELECT h::text FROM actorstore.halted AS h},
	groups => q{SELECT m::text FROM actorstore.group_member AS m},
	dead => q{SELECT d::text FROM actorstore.dead_message AS d});

sub everything
{
	my %all;

	foreach my $what (sort keys %contents)
	{
		$all{$what} = [ sort map { rows($_, 'd', $contents{$what}) } @nodes ];
	}
	return \%all;
}

ok(comes_true($one, 'd', '(SELECT count(*) = 20 FROM actorstore.dead_message)'), 'some messages are dead');
my $before = everything();
cmp_ok(scalar @{ $before->{actor} }, '>=', 3100, 'actors before');

# Load: sends of numbered messages from both, and additions by compare_and_swap
my @senders;
foreach my $node (@nodes)
{
	foreach my $n (1, 2)
	{
		my $session = ActorstoreTest::Session->new($node, 'd');
		my $who = $node->name . $n;
		$session->start(qq{
			DO \$\$ BEGIN FOR i IN 1 .. 1000 LOOP
				PERFORM actorstore.send('sink', (i % 40)::text, 'note', jsonb_build_object('from', '$who', 'i', i, 'to', (i % 40)::text));
				COMMIT;
			END LOOP; END \$\$});
		push @senders, $session;
	}
}
my @askers;
foreach my $node (@nodes)
{
	my $session = ActorstoreTest::Session->new($node, 'd');
	$session->start(q{
		DO $$ BEGIN FOR i IN 1 .. 300 LOOP
			PERFORM actorstore.ask('asked', (i % 40)::text, 'count', NULL, '1 min');
			COMMIT;
			PERFORM actorstore.call('asked', (i % 40)::text, 'count');
			COMMIT;
		END LOOP; END $$});
	push @askers, $session;
}
my @writers;
foreach my $node (@nodes)
{
	my $session = ActorstoreTest::Session->new($node, 'd');
	$session->start(q{
		DO $$ DECLARE a record; done boolean; BEGIN
			FOR i IN 1 .. 800 LOOP
				LOOP
					SELECT g.version, (g.value -> 'n')::bigint AS n INTO a FROM actorstore.get('counter', (i % 30)::text) AS g;
					IF a.version IS NULL THEN
						BEGIN PERFORM actorstore.insert('counter', (i % 30)::text, '{"n": 1}'); done := true;
						EXCEPTION WHEN unique_violation THEN done := false; END;
					ELSE
						SELECT swapped INTO done
						FROM actorstore.compare_and_swap('counter', (i % 30)::text, a.version, jsonb_build_object('n', a.n + 1));
					END IF;
					COMMIT;
					EXIT WHEN done;
				END LOOP;
			END LOOP; END $$});
	push @writers, $session;
}

$one->safe_psql('d', q{SELECT actorstore.set_node_weight('two', 100)});
my $plan = $one->safe_psql('d', q{SELECT * FROM actorstore.rebalance()});
like($plan, qr/^one\|two\|\d+$/, 'a dry run says what would move');
is($one->safe_psql('d', 'SELECT * FROM actorstore.rebalance(false)'), $plan, 'and so does a real one');
comes_true($one, 'd', 'NOT EXISTS (SELECT FROM actorstore.moves_now())');
is($two->safe_psql('d', q{SELECT count(*) FROM actorstore.placement WHERE node_name = 'two'}), '2048', 'two has its share');

is($_->finish, '', 'a sender has not noticed') foreach @senders;
is($_->finish, '', 'one who asks and calls has not noticed') foreach @askers;
is($_->finish, '', 'a writer has not noticed') foreach @writers;
comes_true($_, 'd', q{NOT EXISTS (SELECT FROM actorstore.transit)
	AND NOT EXISTS (SELECT FROM actorstore.outbox) AND NOT EXISTS (SELECT FROM actorstore.message WHERE actor_type = 'sink')}) foreach @nodes, @nodes;

is($one->safe_psql('d', q{SELECT sum((value -> 'n')::int) FROM actorstore.get_all('counter')}), '1600', 'every addition counts once');
is($one->safe_psql('d', q{SELECT sum((value -> 'n')::int) FROM actorstore.get_all('asked')}), '1200', 'and so does every question');
my $after = everything();
foreach my $all ($before, $after)
{
	$all->{actor} = [ grep { !/^\((?:counter|asked),/ } @{ $all->{actor} } ];
}
is_deeply($after->{$_}, $before->{$_}, "$_: the same as before") foreach sort keys %contents;
foreach my $node (@nodes)
{
	my $self = $node->name;

	is($node->safe_psql('d', qq{SELECT count(*) FROM (SELECT actor_type, actor_id FROM actorstore.actor UNION ALL SELECT actor_type, actor_id FROM actorstore.message
		UNION ALL SELECT actor_type, actor_id FROM actorstore.timer) AS a WHERE actorstore.locate(actor_type, actor_id) <> '$self'}), '0', "$self has only what it owns");
	cmp_ok($node->safe_psql('d', q{SELECT count(*) FROM actorstore.actor}), '>', 1000, "and $self has its part");
}

# Of the log, what moved was written on both nodes, first one, then the other
my @log = map { [ map { [ split /\|/ ] } rows($_, 'd', q{SELECT actor_id, body ->> 'from', body ->> 'i' FROM log ORDER BY n}) ] } @nodes;
my (%last, $wrong, $count);
foreach my $entry (map { @$_ } @log)
{
	my ($to, $from, $i) = @$entry;

	$count++;
	$wrong++ if ($last{"$to $from"} // 0) >= $i;
	$last{"$to $from"} = $i;
}
is($count, 4000, 'each message was handled once');
is($wrong // 0, 0, 'in the order in which its sender sent');

# A node leaves, and what it has goes to the other one first; what is in doubt is resolved, which may take a while now.
foreach my $node (@nodes)
{
	$node->safe_psql('d', $_) foreach 'ALTER SYSTEM SET actorstore.resolver_interval = 1000', 'SELECT pg_reload_conf()';
	$node->safe_psql('d', q{SELECT count(*) FROM actorstore.put_many('counter', ARRAY(SELECT i::text FROM generate_series(0, 29) AS i), array_fill('{"n": 0}'::jsonb, ARRAY[30]))});
}
$two->safe_psql('d', q{SELECT actorstore.send('quiet', i::text, 'last') FROM generate_series(1, 50) AS i});
$before = everything();
is($two->safe_psql('d', q{SELECT actorstore.remove_node('two')}), '', 'a node that has actors leaves');
is($one->safe_psql('d', 'SELECT string_agg(node_name, $$ $$) FROM actorstore.node'), 'one', 'and is none any more');
is($two->safe_psql('d', q{SELECT (SELECT count(*) FROM actorstore.actor) + (SELECT count(*) FROM actorstore.message) + (SELECT count(*) FROM actorstore.timer) + (SELECT count(*) FROM actorstore.outbox)}), '0', 'nothing is left on it');
ok(comes_true($one, 'd', 'NOT EXISTS (SELECT FROM actorstore.transit)'), 'all slots are open');
$after = everything();
is_deeply($after->{$_}, $before->{$_}, "$_: all is on the other one") foreach sort keys %contents;
is($one->safe_psql('d', q{SELECT count(*) FROM actorstore.in_doubt WHERE node_name IS NULL}) . $two->safe_psql('d', q{SELECT count(*) FROM actorstore.in_doubt WHERE node_name = 'one'}),
	'00', 'no transaction over both was left in doubt');

done_testing();
