# A physical standby: reads work there, writes are refused, changes of types
# and rights on the primary are seen by sessions that are open; promoted, it
# goes on as the primary did.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";

use ActorstoreCluster;
use ActorstoreTest;
use Test::More;

my $primary = new_node('primary', streaming => 1);
new_database($primary, 'd');
populate($primary, 'd');
$primary->backup('copy');
my $standby = ActorstoreCluster->new('standby');
$standby->init_from_backup($primary, 'copy', has_streaming => 1);
$standby->start;
caught_up();

sub caught_up { $primary->wait_for_catchup($standby); return }

# Reads.
my $session = ActorstoreTest::Session->new($standby, 'd');
is($session->query('SELECT pg_is_in_recovery()'), 't', 'a standby');
is($session->query(q{SELECT value, version FROM actorstore.get('moved', 'id 4')}), '-4|1', 'get');
is($session->query(q{SELECT actorstore.get('cart', 'nobody') IS NULL, actorstore.get('unknown', 'a') IS NULL}), 't|t', 'get of nobody');
is($session->query(q{SELECT count(*), sum(version) FROM actorstore.get_all('loose')}), '300|100', 'get_all');
is($session->query(q{SELECT actor_id, version FROM actorstore.list('cart', 'id 29', 'id 293', 3)}), "id 294|0\nid 295|1\nid 296|0", 'list');
is($session->query(q{SELECT actor_id FROM actorstore.get_many('cart', '{"id 2","id 1"}')}), "id 2\nid 1", 'get_many');
is($session->query(q{SELECT length(value #>> '{}') FROM actorstore.get('cart', 'ten megabytes')}), '10480000', 'a large value');
is($session->query(q{SELECT actorstore.type_table('cart')}), 'actorstore.actor_cart', 'type_table');

# Everything that writes.
foreach my $write (
	q{insert('cart', 'x', '1')}, q{insert('unknown', 'x', '1')}, q{update('cart', 'id 1', '1')}, q{update_versioned('cart', 'id 1', '1', 0)},
	q{compare_and_swap('cart', 'id 1', 0, '1')}, q{put('cart', 'id 1', '1')}, q{put('loose', 'x', '1')}, q{patch('cart', 'id 1', '{}')}, q{delete('cart', 'id 1')},
	q{delete_versioned('cart', 'id 1', 0)}, q{insert_many('cart', '{x}', '{1}')}, q{put_many('cart', '{x}', '{1}')}, q{get_many('cart', '{"id 1"}', 'share')},
	q{get_many('cart', '{"id 1"}', 'update')}, q{create_type('new')}, q{alter_type('cart', max_attempts => 2)}, q{drop_type('cart')},
	q{set_handler('cart', '*', NULL)}, q{grant_type('cart', 'reader', '{read}')}, q{revoke_type('cart', 'reader', '{read}')},
	q{ask('cart', 'id 1', 'm', '1')}, q{ask('cart', 'id 1', 'm', timeout => '0')}, q{ask('loose', 'x', 'm', dedup_key => 'k')}, q{tell('cart', 'id 1', 'm', '1')},
	q{call('cart', 'id 1', 'm', '1')}, q{send('cart', 'id 1', 'm')}, q{send('cart', 'id 1', 'm', delay => '1 h', dedup_key => 'k')}, q{send_many('cart', '{x}', 'm', '{1}')},
	q{cancel(1)}, q{set_timer('cart', 'id 1', 'n', 'm', after => '1 h')}, q{cancel_timer('cart', 'id 1', 'n')}, q{pause('cart')}, q{pause('cart', 'id 1')},
	q{resume('cart')}, q{redrive('cart')}, q{purge_dead_letters('cart', 'infinity')}, q{supervise('cart', 'id 1', 'cart', 'id 2')}, q{unsupervise('loose', 'id 1')},
	q{purge_supervision_log('cart', 'infinity')}, q{join_group('a group', 'cart', 'id 2')}, q{leave_group('a group', 'cart', 'id 1')}, q{broadcast('a group', 'm')},
	q{unfence()})
{
	is($session->query("SELECT actorstore.$write"), 'ERROR:  25006', $write);
}

# Where nothing can be called nobody is in a handler.
foreach my $inside (q{spawn('cart', 'x', '1')}, q{reply('1')}, q{reject('no')}, q{retry_after('1 s')}, q{stop()}, q{link('cart', 'id 1')}, q{unlink('cart', 'id 1')},
	q{monitor('cart', 'id 1')}, q{demonitor('cart', 'id 1')}, q{context()})
{
	is($session->query("SELECT actorstore.$inside"), 'ERROR:  55000', $inside);
}
is($session->query(q{SELECT count(*) > 0 FROM actorstore.doctor()}), 't', 'doctor');
is($session->query(q{SELECT count(*) FROM actorstore.timers}), '7', 'views');

# What the primary does, an open session sees.
is($session->query(q{SELECT actorstore.get('news', 'a') IS NULL}), 't', 'a type that is not there');
$primary->safe_psql('d', q{SELECT actorstore.insert('news', 'a', '1')});
caught_up();
is($session->query(q{SELECT value FROM actorstore.get('news', 'a')}), '1', 'is declared by an insert');
$primary->safe_psql('d', q{SELECT actorstore.create_type('news'); SELECT actorstore.update('news', 'a', '2')});
caught_up();
is($session->query(q{SELECT value FROM actorstore.get('news', 'a')}), '2', 'moves to a partition');
$session->query('SET ROLE reader');
is($session->query(q{SELECT value FROM actorstore.get('news', 'a')}), 'ERROR:  42501', 'may not be read by everybody');
$primary->safe_psql('d', q{SELECT actorstore.grant_type('news', 'reader', '{read}')});
caught_up();
is($session->query(q{SELECT value FROM actorstore.get('news', 'a')}), '2', 'is granted');
$primary->safe_psql('d', q{SELECT actorstore.revoke_type('news', 'reader', '{read}')});
caught_up();
is($session->query(q{SELECT value FROM actorstore.get('news', 'a')}), 'ERROR:  42501', 'is revoked');
$session->query('RESET ROLE');
$primary->safe_psql('d', q{SELECT actorstore.drop_type('news')});
caught_up();
is($session->query(q{SELECT actorstore.get('news', 'a') IS NULL}), 't', 'is dropped');

# Many changes of one actor, and where it is remembered to be.
$session->query(q{SELECT actorstore.get('cart', 'id 7')});
$primary->safe_psql('d', q{SELECT count(actorstore.update('cart', 'id 7', to_jsonb(i))) FROM generate_series(1, 2000) AS i; VACUUM FULL actorstore.actor_cart});
caught_up();
is($session->query(q{SELECT value FROM actorstore.get('cart', 'id 7')}), '2000', 'an actor that moved about');

# Promoted.
$primary->stop;
$standby->promote;
is($session->query(q{SELECT version > 2000 FROM actorstore.update('cart', 'id 7', '"promoted"')}), 't', 'the same session writes after the promotion');
is($session->query(q{SELECT actorstore.ask('cart', 'id 7', 'm', '"asked"', timeout => '3 min'), actorstore.call('cart', 'id 8', 'm', '"called"')}), '"asked"|"called"', 'workers come, ask is answered');
is($session->query(q{SELECT actorstore.create_type('loose'); SELECT count(*), sum(version) FROM actorstore.get_all('loose')}), "\n300|100", 'and declares');
is($session->query(q{SELECT count(*) FROM actorstore.get_all('memory')}), '0', 'unlogged actors are not there');
is($session->query(q{SELECT version FROM actorstore.insert('memory', 'a', '1')}), '0', 'and may come again');
$session->quit;

$standby->stop;
done_testing();
