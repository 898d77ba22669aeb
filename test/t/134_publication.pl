# A publication FOR ALL TABLES, as those who follow changes or move to another release make, forbids nothing: the executor
# refuses to update or delete rows of a published table without a replica identity, and messages have none.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";

use ActorstoreCluster;
use ActorstoreTest;
use Test::More;

my $node = new_node('published', streaming => 1, settings => "actorstore.workers = 1\nmax_prepared_transactions = 10");
new_database_with_actors($node, 'd');
$node->safe_psql('d', 'CREATE PUBLICATION everything FOR ALL TABLES');
is($node->safe_psql('d', q{
	SELECT c.oid::regclass FROM pg_class AS c LEFT JOIN pg_index AS i ON i.indrelid = c.oid AND i.indisprimary
	WHERE relnamespace = 'actorstore'::regnamespace AND relkind = 'r' AND relreplident = 'd' AND i.indrelid IS NULL ORDER BY relname}),
	"actorstore.lease\nactorstore.message", 'the tables without a replica identity');

sub works { my ($name, $sql, $expected) = @_; is($node->safe_psql('d', $sql), $expected, $name); return; }

# What waits, is checked out, and is begun again.
$node->safe_psql('d', q{
	CREATE FUNCTION fail(jsonb, jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'no'; END $$;
	SELECT actorstore.create_type(t, max_attempts => 1, on_exhausted => 'restart') FROM unnest('{gone,stays}'::text[]) AS t;
	SELECT actorstore.set_handler(t, 'collect', 'collect(jsonb, jsonb)'), actorstore.set_handler(t, 'fail', 'fail(jsonb, jsonb)'), actorstore.set_handler(t, 'outside', 'actorstore.outside(jsonb, jsonb)') FROM unnest('{gone,stays}'::text[]) AS t;
	SELECT actorstore.supervise('stays', 'parent', t, 'child', keep_state => true) FROM unnest('{gone,stays}'::text[]) AS t;
	SELECT actorstore.send(t, 'child', 'fail'), actorstore.send(t, 'child', 'collect', '1') FROM unnest('{gone,stays}'::text[]) AS t});
ok($node->poll_query_until('d', q{SELECT count(*) = 2 FROM actorstore.get_all('gone') AS g, actorstore.get_all('stays') AS s, actorstore.supervision_log WHERE event = 'restarted' AND (g.value, s.value) = ('[1]', '[1]')}), 'children are restarted');
$node->safe_psql('d', q{SELECT actorstore.send(t, i::text, 'collect', '1', delay => '1 h'), actorstore.send(t, i::text, 'outside') FROM unnest('{gone,stays}'::text[]) AS t, generate_series(1, 3) AS i});
works('turns are checked out', q{SELECT count(*) FROM actorstore.checkout('w', '{gone,stays}', 4, lease => '1 h', max_wait => '10 s')}, '4');
works('there are leases of both', q{SELECT count(DISTINCT actor_type), count(*) FROM actorstore.lease}, '2|4');

# Somebody is at its messages.
my $other = ActorstoreTest::Session->new($node, 'd');
$other->query(q{BEGIN; SELECT actorstore.cancel(message_id) FROM actorstore.message WHERE actor_type = 'gone' AND actor_id = '1' AND due IS NOT NULL});
my $dropper = ActorstoreTest::Session->new($node, 'd');
$dropper->start(q{SELECT actorstore.drop_type('gone')});
ok($node->poll_query_until('d', q{SELECT EXISTS (SELECT FROM pg_stat_activity WHERE query LIKE '%drop_type%' AND wait_event_type = 'Lock')}), 'who drops a type waits for who is at its messages');
$other->query('COMMIT');
$dropper->finish;
works('all of the type has gone', q{SELECT (SELECT count(*) FROM actorstore.message WHERE actor_type = 'gone'), (SELECT count(*) FROM actorstore.lease WHERE actor_type = 'gone'), (SELECT count(*) FROM actorstore.type WHERE actor_type = 'gone')}, '0|0|0');
works('nothing of the others has', q{SELECT (SELECT count(*) FROM actorstore.message WHERE actor_type = 'stays'), (SELECT count(*) > 0 FROM actorstore.lease)}, '6|t');
works('a child is given up', q{SELECT actorstore.unsupervise('stays', 'child'); SELECT count(*) FROM actorstore.supervised}, "t\n0");

# A copy begins a life of its own.
$_->quit foreach $other, $dropper;
$node->safe_psql('postgres', 'CREATE DATABASE copy TEMPLATE d');
is($node->safe_psql('copy', 'SELECT count(*) > 0 FROM actorstore.lease'), 't', 'it has what was checked out');
is($node->safe_psql('copy', 'SELECT actorstore.unfence()'), 't', 'unfence');
is($node->safe_psql('copy', 'SELECT count(*) FROM actorstore.lease'), '0', 'and has not any more');

# So does a standby that is promoted.
$node->backup('standby');
my $standby = ActorstoreCluster->new('standby');
$standby->init_from_backup($node, 'standby', has_streaming => 1);
$standby->start;
$node->wait_for_catchup($standby);
$node->stop;
$standby->promote;
is($standby->safe_psql('d', q{SELECT actorstore.ask('stays', 'x', 'collect', '1')}), '[1]', 'a standby that is promoted goes on');
ok($standby->poll_query_until('d', 'SELECT timeline = 2 FROM actorstore.identity'), 'as what it is');

$standby->stop;
done_testing();
