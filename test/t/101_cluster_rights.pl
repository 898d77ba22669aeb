# What nobody but a superuser may do with other nodes, what the role that nodes
# log in as may do, and what a session that is full of traps changes of it.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";

use ActorstoreTest;
use Test::More;

my @nodes = new_cluster('one', 'two');
my ($one, $two) = @nodes;
my $loopback = $one->connstr('d');
my $uuid = $one->safe_psql('d', 'SELECT node_uuid FROM actorstore.node WHERE is_self');
foreach my $node (@nodes)
{
	$node->safe_psql('d', q{CREATE TABLE account (id int PRIMARY KEY, amount int); INSERT INTO account VALUES (1, 100); CREATE ROLE ordinary LOGIN; CREATE ROLE granted LOGIN; CREATE ROLE node_only LOGIN;
		GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA actorstore TO granted; GRANT CREATE ON DATABASE d TO ordinary});
	$node->safe_psql('d', $_) foreach rows($node, 'd', q{SELECT format('GRANT EXECUTE ON FUNCTION %s TO node_only', oid::regprocedure) FROM pg_proc
		WHERE pronamespace = 'actorstore'::regnamespace AND proname LIKE 'local\_%'});
}

# Section 8's tables belong to nobody, and where a node is to be reached is read by nobody.
foreach my $table (rows($one, 'd', q{SELECT relname FROM pg_class WHERE relnamespace = 'actorstore'::regnamespace AND relkind = 'r' AND relname ~ '^(node|epoch|decision|boot|receipt|ballot|outbox|inbox)'}))
{
	foreach my $role (qw(ordinary granted node_only))
	{
		is(sqlstate($one, 'd', "SET ROLE $role; $_"), '42501', "$role: $_")
		  foreach "INSERT INTO actorstore.$table SELECT * FROM actorstore.$table", "DELETE FROM actorstore.$table", "TRUNCATE actorstore.$table", "SELECT * FROM actorstore.$table", "BEGIN; LOCK actorstore.$table IN EXCLUSIVE MODE";
	}
}
is(sqlstate($one, 'd', "SET ROLE ordinary; UPDATE actorstore.node SET conninfo = \$\$$loopback\$\$"), '42501', 'nobody sets a conninfo');
is(sqlstate($one, 'd', "SET ROLE $_; SELECT conninfo FROM actorstore.node"), '42501', "nor reads one: $_") foreach qw(ordinary granted node_only);
is($one->safe_psql('d', 'SET ROLE ordinary; SELECT count(node_name) FROM actorstore.node'), '2', 'the rest can be read');

# Who has been granted everything is still no superuser: no connection anywhere for him, least of all to this server as its owner.
my @administration = (
	q{SELECT actorstore.execute_on_nodes('SELECT 1')},
	q{SELECT actorstore.execute_on_nodes('ALTER ROLE granted SUPERUSER', '{}', '{one}')},
	q{SELECT actorstore.init_node('me')},
	q{SELECT actorstore.set_node_location('two', 'north')},
	(map { $_ =~ s{CONNINFO}{\$\$$loopback\$\$}r } rows($one, 'd', q{
		SELECT format('SELECT %s(%s)', oid::regproc, CASE proname WHEN 'add_node' THEN '''me'', CONNINFO' WHEN 'remove_node' THEN '''two''' ELSE '''two'', 50' END)
		FROM pg_proc WHERE pronamespace = 'actorstore'::regnamespace AND proname IN ('add_node', 'remove_node', 'set_node_weight')})));
foreach my $statement (@administration)
{
	is(sqlstate($one, 'd', "SET ROLE $_; $statement"), '42501', "$_: $statement") foreach qw(ordinary granted node_only);
}

# Functions for other nodes are not for everybody.
is($one->safe_psql('d', q{SELECT string_agg(oid::regprocedure::text, ' ') FROM pg_proc WHERE pronamespace = 'actorstore'::regnamespace AND proname ~ '^local_' AND has_function_privilege('ordinary', oid, 'EXECUTE')}),
	'', 'nobody may execute local functions');
cmp_ok(scalar(rows($one, 'd', q{SELECT proname FROM pg_proc WHERE pronamespace = 'actorstore'::regnamespace AND proname ~ '^local_'})), '>=', 6, 'of which there are some');
is(sqlstate($one, 'd', 'SELECT actorstore.node_check(node_name) FROM actorstore.node', connstr => $one->connstr('d') . ' user=ordinary'), '42501', 'nor try a connection');

# Nor does anybody but a node leave a receipt.
is(sqlstate($one, 'd', "BEGIN; SELECT pg_current_xact_id(); PREPARE TRANSACTION 'actorstore_${uuid}_1_1_5_1'", connstr => $one->connstr('d') . " user=ordinary options='-c actorstore.coordinator=1.1'"), '42501', 'nobody prepares a part of a transaction');
is($one->safe_psql('d', 'SELECT count(*) FROM actorstore.receipt WHERE full_xid = \'5\''), '0', 'nor leaves a receipt');

# The role that nodes log in as may execute these, and can do nothing to actors by that.
$one->safe_psql('d', q{SELECT actorstore.create_type('cart'), actorstore.insert('cart', 'a', '1')});
foreach my $statement (q{SELECT actorstore.get('cart', 'a')}, q{SELECT actorstore.put('cart', 'a', '2')}, q{SELECT actorstore.send('cart', 'a', 'm')}, q{SELECT actorstore.drop_type('cart')},
	q{SELECT * FROM account}, q{UPDATE account SET amount = 0}, q{ALTER ROLE node_only SUPERUSER}, q{SET ROLE postgres}, q{SET SESSION AUTHORIZATION postgres}, q{COPY account TO PROGRAM 'true'})
{
	is(sqlstate($one, 'd', $statement, connstr => $one->connstr('d') . ' user=node_only'), '42501', "node_only: $statement");
	is(sqlstate($one, 'd', $statement, connstr => $one->connstr('d') . " user=node_only options='-c actorstore.coordinator=1'"), '42501', "though it says it is a node: $statement");
}
is($one->safe_psql('d', q{SELECT value FROM actorstore.get('cart', 'a')}), '1', 'nothing has changed');

# Transactions of others that are prepared are out of its reach.
$one->safe_psql('d', "BEGIN; UPDATE account SET amount = 50; PREPARE TRANSACTION 'actorstore_${uuid}_1_1_1_2'");
is(sqlstate($one, 'd', "$_ PREPARED 'actorstore_${uuid}_1_1_1_2'", connstr => $one->connstr('d') . ' user=node_only'), '42501', "node_only: $_ PREPARED") foreach qw(COMMIT ROLLBACK);
$one->safe_psql('d', "ROLLBACK PREPARED 'actorstore_${uuid}_1_1_1_2'");

# A session full of traps, as it would be left to a superuser: the statement of
# execute_on_nodes means what it says, all else does not look there.
foreach my $node (@nodes)
{
	$node->safe_psql('d', q{
		CREATE SCHEMA hostile; GRANT ALL ON SCHEMA hostile TO PUBLIC;
		SET ROLE ordinary;
		CREATE FUNCTION hostile.hijacked() RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN EXECUTE 'ALTER ROLE ordinary SUPERUSER'; RETURN true; END $$;
		CREATE FUNCTION hostile.now() RETURNS timestamptz LANGUAGE sql AS 'SELECT hostile.hijacked(); SELECT NULL::timestamptz';
		CREATE FUNCTION hostile.current_database() RETURNS name LANGUAGE sql AS 'SELECT hostile.hijacked(); SELECT NULL::name';
		CREATE FUNCTION hostile.starts_with(text, text) RETURNS boolean LANGUAGE sql AS 'SELECT hostile.hijacked()';
		CREATE FUNCTION hostile.set_config(text, text, boolean) RETURNS text LANGUAGE sql AS 'SELECT hostile.hijacked(); SELECT NULL::text';
		CREATE FUNCTION hostile.format(text, VARIADIC text[]) RETURNS text LANGUAGE sql AS 'SELECT hostile.hijacked(); SELECT NULL::text';
		CREATE FUNCTION hostile.count(text) RETURNS bigint LANGUAGE sql AS 'SELECT hostile.hijacked(); SELECT 0::bigint';
		CREATE VIEW hostile.pg_prepared_xacts AS SELECT 'x'::text AS gid, hostile.hijacked() AS database;
		CREATE TABLE hostile.node (node_number int, node_name text, conninfo text);
		CREATE TABLE hostile.epoch (epoch int);
		CREATE TABLE hostile.decision (full_xid int);
		CREATE TABLE hostile.receipt (gid text)});
	foreach my $type (qw(text name bigint uuid xid8 smallint))
	{
		foreach my $operator ('=', '<', '<=', '>', '<>')
		{
			my $name = 'op_' . join('_', map { ord } split //, $operator);
			$node->safe_psql('d', "SET ROLE ordinary; CREATE FUNCTION hostile.$name(a $type, b $type) RETURNS boolean LANGUAGE sql AS 'SELECT hostile.hijacked()'; CREATE OPERATOR hostile.$operator (LEFTARG = $type, RIGHTARG = $type, FUNCTION = hostile.$name)");
		}
	}
}
$one->safe_psql('d', 'GRANT SELECT ON ALL TABLES IN SCHEMA hostile TO PUBLIC');
my @calls = (
	q{SELECT ok FROM actorstore.node_check('two')},
	q{SELECT actorstore.locate('cart', 'a')},
	q{SELECT actorstore.replicas('cart', 'a', 2)},
	q{SELECT node_name, row_count FROM actorstore.execute_on_nodes('UPDATE public.account SET amount = amount + $1', '{1}')},
	q{SELECT actorstore.resolve_in_doubt()},
	q{SELECT state FROM actorstore.in_doubt},
	q{SELECT node_name FROM actorstore.stat_peers},
	q{SELECT node_name FROM actorstore.placement LIMIT 1},
	q{SELECT node_name FROM actorstore.local_identity()},
	qq{SELECT actorstore.local_prepared('$uuid')},
	qq{SELECT actorstore.local_receipts('$uuid', '{a}')},
	qq{SELECT actorstore.local_forget('$uuid', 1, '3')},
	q{SELECT pid FROM actorstore.local_transactions()},
	q{SELECT waiting_pid FROM actorstore.local_waits()},
	q{SELECT item FROM actorstore.doctor() WHERE NOT ok LIMIT 0});
my @answers;
foreach my $before ('', 'SET search_path = hostile, pg_catalog', 'SET search_path = hostile',
	'CREATE TEMP TABLE node (LIKE hostile.node); CREATE TEMP TABLE decision (LIKE hostile.decision); CREATE TEMP TABLE receipt (LIKE hostile.receipt); CREATE TEMP TABLE pg_prepared_xacts (gid text, database name); SET search_path = pg_temp, hostile, pg_catalog')
{
	# a session with temporary tables of its own may use them between transactions over several nodes
	my $session = ActorstoreTest::Session->new($one, 'd');
	$session->query($before) if $before;
	push @answers, [ map { $session->query($_) } @calls ];
	$session->quit;
	is($_->safe_psql('d', q{SELECT rolsuper FROM pg_roles WHERE rolname = 'ordinary'}), 'f', 'no traps have snapped on ' . $_->name . ": $before") foreach @nodes;
	is_deeply($answers[-1], $answers[0], "the same answers: $before");
}
is($answers[0][3], "one|1\ntwo|1", 'which are answers');
unlike(join(' ', map { $_ // '' } @{ $answers[0] }), qr/ERROR/, 'and no errors');

# The trap would snap.
is($one->safe_psql('d', q{SET search_path = hostile, pg_catalog; SELECT now() IS NULL; SELECT rolsuper FROM pg_catalog.pg_roles WHERE rolname OPERATOR(pg_catalog.=) 'ordinary'}), "t\nt", 'the traps are set');

$_->stop foreach @nodes;
done_testing();
