# Types, handlers and rights are the same on all nodes: changed in one
# transaction, in the name of who calls, or not at all.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";

BEGIN { delete $ENV{ACTORSTORE_TLS}; }	# nodes log in as roles of its own
use ActorstoreTest;
use Test::More;

# nobody fetches the epochs that are made up here
my @nodes = new_cluster('one', 'two', 'three', { login => 'peer', settings => "deadlock_timeout = 10s\nmax_worker_processes = 32\nactorstore.resolver_interval = 1h" });
my ($one, $two, $three) = @nodes;
foreach my $node (@nodes)
{
	$node->safe_psql('d', q{
		CREATE ROLE alice LOGIN; CREATE ROLE bob LOGIN; CREATE ROLE team; GRANT team TO alice;
		GRANT CREATE ON DATABASE d TO alice;
		SET ROLE alice; CREATE SCHEMA app;
		CREATE FUNCTION app.handle(state jsonb, body jsonb) RETURNS jsonb LANGUAGE sql RETURN body});
}

# What every node must say the same about.
my $registry = q{SELECT 'type', to_jsonb(t)::text FROM actorstore.type AS t UNION ALL SELECT 'handler', to_jsonb(h)::text FROM actorstore.handler AS h
	UNION ALL SELECT 'grant', to_jsonb(g)::text FROM actorstore.type_grant AS g UNION ALL
	SELECT 'table', format('%s %s %s', c.relname, c.relpersistence, array(SELECT unnest(c.relacl)::text ORDER BY 1)) FROM pg_inherits AS i JOIN pg_class AS c ON c.oid = i.inhrelid
	WHERE inhparent = 'actorstore.actor'::regclass ORDER BY 1, 2};
sub same
{
	my ($name) = @_;
	my @contents = map { join "\n", rows($_, 'd', $registry) } @nodes;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	is($contents[$_], $contents[0], "$name: the same on " . $nodes[$_]->name) foreach 1 .. $#nodes;
	return $contents[0];
}
sub session { my ($node, $role) = @_; my $session = ActorstoreTest::Session->new($node, 'd'); $session->query("SET ROLE $role") if $role; return $session; }

# All of it, from two nodes.
my $alice = session($two, 'alice');
my $elsewhere = session($one, 'alice');
is($alice->query(q{SELECT actorstore.create_type('cart', mailbox_limit => 7, on_full => 'wait', backoff => '1 mon -2 days 00:00:03.000001', backoff_max => '1 year', rate_limit => 0.1)}), '', 'a type');
is($alice->query(q{SELECT actorstore.create_type('memory', 'unlogged', order_by_deadline => true)}), '', 'unlogged');
like(same('declared'), qr/table\|actor_cart p .*table\|actor_memory u /s, 'tables');
is($alice->query(q{SET intervalstyle = sql_standard; SELECT actorstore.alter_type('cart', backoff => '3 days -04:00:00', turn_timeout => '1.5 s')}), '', 'altered');
is($elsewhere->query(q{SELECT actorstore.alter_type('memory', 'logged')}), '', 'persistence');
is($elsewhere->query(q{SET search_path = app, "$user"; SELECT actorstore.set_handler('cart', 'm', 'handle(jsonb, jsonb)'), actorstore.set_handler('cart', '*', 'app.handle(jsonb, jsonb)')}), '|', 'handlers');
is($alice->query(q{SELECT actorstore.grant_type('cart', 'bob', '{read,ask}'), actorstore.grant_type('cart', 'team', '{write}')}), '|', 'rights');
is($two->safe_psql('d', q{SELECT actorstore.grant_type('cart', 0::regrole, '{send}')}), '', 'of PUBLIC');
is($elsewhere->query(q{SELECT actorstore.revoke_type('cart', 'bob', '{read}'), actorstore.set_handler('cart', 'm', NULL)}), '|', 'and back');
is($alice->query(q{SELECT (actorstore.insert('loose', 'a', '1')).version}), '0', 'a first use');
my $all = same('changed');
like($all, qr/grant\|.*"bob".*"ask"/, 'granted');
unlike($all, qr/grant\|.*"bob".*"read"/, 'revoked');
like($all, qr/type\|.*"loose"/, 'declared by its use');
is($elsewhere->query(q{SELECT actorstore.drop_type('memory'), actorstore.drop_type('loose')}), '|', 'dropped');
unlike(same('dropped'), qr/memory|loose/, 'gone');
is($two->safe_psql('d', q{SELECT count(*) FROM actorstore.actor}), '0', 'with its actors');

# Superusers act for the owners of types, and own none: the nodes log in as another role.
is(sqlstate($three, 'd', q{SELECT actorstore.create_type('super')}), '42501', 'a superuser declares no type');
is(sqlstate($one, 'd', q{SELECT actorstore.put('super', 'a', '1')}), '42501', 'by the first use neither');
is($three->safe_psql('d', q{SELECT actorstore.set_handler('cart', 'super', 'app.handle(jsonb, jsonb)'), actorstore.alter_type('cart', max_attempts => 9)}), '|', 'but changes one');
like(same('changed by a superuser'), qr/handler\|.*"super"/, 'as its owner');

# On all or on none.
is($alice->query(q{BEGIN; SELECT actorstore.create_type('undone'); SAVEPOINT a; SELECT actorstore.drop_type('cart'); ROLLBACK TO a;
	SELECT actorstore.grant_type('undone', 'bob', '{read}')}), "\n\n", 'in a transaction');
is($alice->query('ROLLBACK'), '', 'rolled back');
is(same('nothing'), same('nothing'), 'nothing done');
$three->safe_psql('d', q{DROP FUNCTION app.handle(jsonb, jsonb) CASCADE});
my ($status, $stdout, $stderr) = $two->psql('d', q{SET ROLE alice; SELECT actorstore.set_handler('cart', 'n', 'app.handle(jsonb, jsonb)')});
like($stderr, qr/handler function app\.handle\(.*\) does not exist on node "three"/, 'no such function there');
is($alice->query(q{SELECT actorstore.set_handler('cart', 'n', 'app.handle(jsonb, jsonb)')}), 'ERROR:  42883', 'refused');
is($alice->query(q{CREATE ROLE carol}), 'ERROR:  42501', 'a session');
$two->safe_psql('d', 'CREATE ROLE carol'); $one->safe_psql('d', 'CREATE ROLE carol');
is($alice->query(q{SELECT actorstore.grant_type('cart', 'carol', '{read}')}), 'ERROR:  42704', 'no such role there');
$two->safe_psql('d', q{GRANT CREATE ON DATABASE d TO carol}); $one->safe_psql('d', q{GRANT CREATE ON DATABASE d TO carol});
is(sqlstate($two, 'd', q{SET ROLE carol; SELECT actorstore.create_type('hers')}), '42704', 'no such caller there');
$three->safe_psql('d', 'CREATE ROLE carol SUPERUSER');
is(sqlstate($two, 'd', q{SET ROLE carol; SELECT actorstore.create_type('hers')}), '42501', 'a superuser there');
$three->safe_psql('d', 'ALTER ROLE carol NOSUPERUSER');
is(sqlstate($two, 'd', q{SET ROLE carol; SELECT actorstore.create_type('hers')}), '42501', 'one who may not create there');
is(sqlstate($two, 'd', q{SET ROLE carol; SELECT actorstore.put('hers', 'a', '1')}), '42704', 'by the first use neither');
is(sqlstate($two, 'd', q{SET ROLE bob; SELECT actorstore.drop_type('cart')}), '42501', 'one who does not own the type');
is(sqlstate($two, 'd', q{SELECT actorstore.alter_type('cart', mailbox_limit => 0)}), '22023', 'a bad option');
is(sqlstate($two, 'd', q{SELECT actorstore.alter_type('nothing', mailbox_limit => 1)}), '42704', 'no type');
$one->safe_psql('d', q{DELETE FROM actorstore.type_grant WHERE grantee::text = 'team'}); # as if it had gone astray
is(sqlstate($two, 'd', q{SELECT actorstore.grant_type('cart', 'team', '{write}')}), '00000', 'put right');
same('after refusals');

# Two at once meet on the first node: neither waits for the other in a circle.
my @both = (session($two, 'alice'), session($three, 'alice'));
my $look = session($one);
$both[0]->query(q{BEGIN; SELECT actorstore.create_type('twice')});
$both[1]->start(q{SELECT actorstore.create_type('twice')});
ok(comes_true($one, 'd', q{EXISTS (SELECT FROM pg_stat_activity WHERE application_name = 'actorstore peer' AND wait_event_type = 'Lock')}), 'the second one waits on the first node');
is($three->safe_psql('d', q{SELECT count(*) FROM pg_locks WHERE NOT granted}), '0', 'nowhere else');
is($both[0]->query('COMMIT'), '', 'the first one');
is($both[1]->finish, 'ERROR:  42710', 'then the second');
$both[$_]->query(qq{BEGIN; SELECT actorstore.put('of $_', 'a', '1') IS NULL}) foreach 0, 1;
$both[1]->start(q{SELECT actorstore.put('of 0', 'a', '1') IS NULL});
ok(comes_true($one, 'd', q{EXISTS (SELECT FROM pg_stat_activity WHERE application_name = 'actorstore peer' AND wait_event_type = 'Lock')}), 'first uses meet there, too');
is($both[0]->query('COMMIT'), '', 'the first one');
like($both[1]->finish, qr/^f$/, 'then the second');
is($both[1]->query('COMMIT'), '', 'both');
same('two at once');

# Nodes have come meanwhile; or one is missing.
$both[0]->query('BEGIN; SELECT 1');
$three->safe_psql('d', q{INSERT INTO actorstore.epoch SELECT * FROM jsonb_populate_record(NULL::actorstore.epoch, (SELECT to_jsonb(e) || '{"epoch": 99}' FROM actorstore.epoch AS e LIMIT 1))});
is($both[0]->query(q{SELECT actorstore.drop_type('twice')}), 'ERROR:  VA007', 'a newer epoch there');
$both[0]->query('ROLLBACK');
$three->safe_psql('d', 'DELETE FROM actorstore.epoch WHERE epoch = 99');
is(sqlstate($one, 'd', q{SELECT actorstore.drop_type('twice')}), '00000', 'the same');
$three->stop('fast');
is($both[0]->query(q{SELECT actorstore.create_type('missing')}), 'ERROR:  08006', 'a node is missing');
is($both[0]->query(q{SELECT actorstore.put('missing', 'a', '1')}), 'ERROR:  08006', 'for the first use as well');
$three->start;
is($both[0]->query(q{SELECT actorstore.create_type('missing')}), '', 'it is back');
same('all there');

# In whose name: only a session of a role that may, opened by another node, at first hand; and never a superuser's.
sub take { my ($caller, $type) = @_; return "SELECT actorstore.local_type($caller, 99, 'declare', '$type', false, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL)"; }
sub as_node { my ($sql, $user) = @_; local $ENV{PGOPTIONS} = '-c actorstore.coordinator=1'; return sqlstate($two, 'd', $sql, connstr => $two->connstr('d') . ' user=' . ($user // 'peer')); }
my $super = $two->safe_psql('d', 'SELECT current_user');
is(as_node(take(q{'alice'}, 'of alice')), '00000', 'another node');
is($two->safe_psql('d', q{SELECT owner FROM actorstore.type WHERE actor_type = 'of alice'}), 'alice', 'in her name');
is(as_node(take('NULL', 'of peer')), '00000', 'for a superuser');
is($two->safe_psql('d', q{SELECT owner FROM actorstore.type WHERE actor_type = 'of peer'}), 'peer', 'as itself');
is(sqlstate($two, 'd', take(q{'alice'}, 'x'), connstr => $two->connstr('d') . ' user=peer'), '42501', 'no node has opened the session');
is(as_node(take(q{'alice'}, 'x'), 'alice'), '42501', 'a role without EXECUTE');
is(as_node(take("'$super'", 'x')), '42501', q{a superuser's name});
is(as_node(take("'$super'", 'x'), $super), '42501', 'that of the session, even');
is(as_node(take(q{'nobody'}, 'x')), '42704', 'an unknown role');
is(as_node(take(q{repeat('a', 70)}, 'x')), '42704', 'none can have that name');
is(as_node(take(q{'bob'}, 'x')), '42704', 'a role that may not declare types');
$two->safe_psql('d', 'GRANT alice TO peer; GRANT bob TO peer');
is(as_node('SET ROLE alice; ' . take(q{'alice'}, 'x')), '42501', 'SET ROLE before');
$two->safe_psql('d', 'GRANT EXECUTE ON FUNCTION ' . $two->safe_psql('d', q{SELECT oid::regprocedure FROM pg_proc WHERE proname = 'local_type'}) . ' TO alice');
is(as_node('SET ROLE alice; ' . take(q{'bob'}, 'x')), '42501', 'even of one who may');
is(as_node('SET ROLE bob; ' . take(q{'alice'}, 'x')), '42501', 'or may not');
$two->safe_psql('d', 'CREATE FUNCTION definer() RETURNS text SECURITY DEFINER LANGUAGE plpgsql AS $$ BEGIN RETURN (' . take(q{'alice'}, 'x') . '); END $$');
is(as_node('SELECT definer()'), '42501', 'a SECURITY DEFINER function in between');
is(as_node('SELECT definer()', 'bob'), '42501', 'called by anybody');
is($two->safe_psql('d', q{SELECT count(*) FROM actorstore.type WHERE actor_type = 'x'}), '0', 'nothing done');
is(as_node(take(q{'alice'}, 'of alice') =~ s/'declare'/'DROP DATABASE d'/r), '22023', 'an unknown change');
is(as_node(take(q{'alice'}, 'of alice') =~ s/'declare', /NULL, /r), '22004', 'none');

# A database that is no node is on its own.
new_database_with_actors($one, 'alone');
$one->safe_psql('alone', q{SELECT actorstore.create_type('cart'), actorstore.put('loose', 'a', '1') IS NULL});
is($one->safe_psql('alone', 'SELECT count(*) FROM actorstore.type'), '2', 'no node');

# A node that joins while types change: what is not over by then waits, or includes it.
new_database_with_actors($_, 'm') foreach $one, $two;
$_->safe_psql('m', 'GRANT CREATE ON DATABASE m TO alice') foreach $one, $two;
my ($first, $second) = map { $_->connstr('m') =~ s/'//gr } $one, $two;
$one->safe_psql('m', qq{SELECT actorstore.init_node('first', '$first'); SELECT actorstore.create_type('super'); SET ROLE alice; SELECT actorstore.create_type('kept')});
$two->safe_psql('m', join ';', rows($two, 'm', q{SELECT format('GRANT EXECUTE ON FUNCTION %s TO peer', oid::regprocedure) FROM pg_proc WHERE pronamespace = 'actorstore'::regnamespace AND starts_with(proname, 'local_')}));
is(sqlstate($one, 'm', qq{SELECT actorstore.add_node('second', '$second user=peer')}), '42501', q{a superuser's type cannot be handed over to a role that is none});
$one->safe_psql('m', q{SELECT actorstore.drop_type('super')});
# The resolver finds out, in as many passes as that takes: by itself it makes one an hour here.
ok($one->poll_query_until('m', 'SELECT actorstore.resolve_in_doubt() >= 0 AND NOT EXISTS (SELECT FROM actorstore.arrival)'), 'nobody is left who began before it was a node');
my $change = ActorstoreTest::Session->new($one, 'm');
my $join = ActorstoreTest::Session->new($one, 'm');
$change->query(q{SET ROLE alice; BEGIN; SELECT actorstore.alter_type('kept', max_attempts => 9), actorstore.grant_type('kept', 'bob', '{read}')});
$join->start(qq{SELECT actorstore.add_node('second', '$second user=peer')});
ok(comes_true($one, 'm', q{2 = (SELECT max(epoch) FROM actorstore.epoch) AND EXISTS (SELECT FROM pg_locks WHERE NOT granted AND relation = 'actorstore.type'::regclass)}), 'it is decided, and waits for the change');
is($two->safe_psql('m', 'SELECT count(*) FROM actorstore.node'), '0', 'it is not told yet');
is(sqlstate($one, 'm', q{SET ROLE alice; SET lock_timeout = '1s'; SELECT actorstore.create_type('too early')}) =~ /^(55000|55P03)$/ ? 1 : 0, 1, 'nobody changes types meanwhile');
is($change->query('COMMIT'), '', 'the change is over');
is($join->finish, '', 'it has joined');
is($two->safe_psql('m', q{SELECT string_agg(actor_type || max_attempts, ',' ORDER BY max_attempts) FROM actorstore.type}), 'kept9', 'with the types by then');
is($two->safe_psql('m', q{SELECT actor_type, grantee, privilege FROM actorstore.type_grant}), 'kept|bob|read', 'and rights');
$change->query(q{BEGIN; SELECT actorstore.create_type('later')});
is($two->safe_psql('m', q{SELECT count(*) FROM pg_locks WHERE relation = 'actorstore.type'::regclass AND mode = 'ShareUpdateExclusiveLock'}), '1', 'and is part of the next change');
$change->query('ROLLBACK');
$_->quit foreach $change, $join;

$_->quit foreach $alice, $elsewhere, @both, $look;
$_->stop foreach @nodes;
done_testing();
