# One actor's state on the node that owns it, from any node: results and errors
# are those of a local call.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";

use ActorstoreTest;
use Test::More;

# nobody fetches the epochs that are made up here
my @nodes = new_cluster('one', 'two', 'three', { settings => 'actorstore.resolver_interval = 1h' });
my ($one, $two, $three) = @nodes;
foreach my $node (@nodes)
{
	$node->safe_psql('d', q{
		CREATE ROLE alice LOGIN; CREATE ROLE bob LOGIN; GRANT CREATE ON DATABASE d TO alice;
		CREATE FUNCTION attempt(sql text) RETURNS text LANGUAGE plpgsql AS $$
		DECLARE
			a text; b text; c text; d text; e text; f text;
		BEGIN
			EXECUTE sql INTO a;
			RETURN a;
		EXCEPTION WHEN OTHERS THEN
			GET STACKED DIAGNOSTICS a = RETURNED_SQLSTATE, b = MESSAGE_TEXT, c = PG_EXCEPTION_DETAIL, d = PG_EXCEPTION_HINT, e = TABLE_NAME, f = CONSTRAINT_NAME;
			RETURN concat_ws('|', a, b, c, d, e, f);
		END $$});
}
$one->safe_psql('d', q{SELECT actorstore.create_type('t'), actorstore.grant_type('t', 'alice', '{read,write}'), actorstore.grant_type('t', 'bob', '{read}')});
my $session = ActorstoreTest::Session->new($one, 'd');
sub q1 { return $session->query($_[0]); }
sub on { my ($node, $id) = @_; return $node->safe_psql('d', "SELECT value, version FROM actorstore.actor WHERE actor_type = 't' AND actor_id = '$id'"); }
sub trips { return $one->safe_psql('d', 'SELECT sum(round_trips) FROM actorstore.stat_peers'); }

# Ids by owner.
my %of;
push @{ $of{ (split /\|/)[0] } }, (split /\|/)[1] foreach rows($one, 'd', q{SELECT actorstore.locate('t', 'a' || i), 'a' || i FROM generate_series(10, 99) AS i});
my ($here, $there, $far) = map { $of{$_}[0] } qw(one two three);

# All functions; created_at and updated_at only whether they are there.
sub story
{
	my ($id) = @_;
	my $actor = sub { "SELECT concat_ws('|', actor_type, actor_id, value, version, created_at <= updated_at) FROM actorstore.$_[0]" };
	my @calls = ("SELECT actorstore.get('t', '$id') IS NULL",
	  $actor->(qq{insert('t', '$id', '{"a": 1, "b": [true, null, "x\\u0041\\ny€"]}')}),
	  $actor->("insert('t', '$id', '1')"), $actor->("get('t', '$id')"),
	  $actor->("update('t', '$id', '{}')"), $actor->("update_versioned('t', '$id', '{\"c\": 1}', 1)"),
	  $actor->("update_versioned('t', '$id', '2', 1)"), "SELECT concat_ws('|', swapped, version, value) FROM actorstore.compare_and_swap('t', '$id', 1, '3')",
	  "SELECT concat_ws('|', swapped, version, value) FROM actorstore.compare_and_swap('t', '$id', 2, '{\"d\": 4}')", $actor->("patch('t', '$id', '{\"e\": 5, \"d\": null}')"),
	  $actor->("put('t', '$id', 'null')"), $actor->("delete_versioned('t', '$id', 3)"), $actor->("delete_versioned('t', '$id', 5)"),
	  "SELECT actorstore.delete('t', '$id') IS NULL", $actor->("update('t', '$id', '1')"), $actor->("patch('t', '$id', '1')"),
	  $actor->("update_versioned('t', '$id', '1', 0)"), $actor->("delete_versioned('t', '$id', 0)"),
	  "SELECT concat_ws('|', swapped, version, value) FROM actorstore.compare_and_swap('t', '$id', 0, '1')", $actor->("put('t', '$id', '6')"), $actor->("put('t', '$id', '7')"),
	  $actor->("delete('t', '$id')"), "SELECT actorstore.get('unknown', '$id') IS NULL",
	  $actor->("put('t', '$id', to_jsonb(repeat('x', 11000000)))"), $actor->("put('t', '$id', NULL)"), $actor->("update_versioned('t', '$id', '1', NULL)"),
	  (map { my $role = $_; "SELECT attempt(\$a\$SELECT concat(actorstore.$_) FROM set_config('role', '$role', true)\$a\$)" }
		"get('t', '$id')", "put('t', '$id', '1')", "put('u', '$id', '1')", "update('u', '$id', '1')") x 0);
	return join "\n", map { my $answer = q1("SELECT attempt(\$a\$$_\$a\$)"); $answer =~ s/\b$id\b/ID/gr; } @calls;
}
my $local = story($here);
like($local, qr/^true\nt\|ID\|\{"a": 1, "b": \[true, null, "xA\\ny€"\]\}\|0\|t\n23505\|[^\n]*\|actor_t\|actor_t_pkey\n/, 'a story');
like($local, qr/\n40001\|actor \(t, ID\) has another version\|expected version 1, actual version 2\|/, 'with its errors');
is(story($there), $local, 'the same on another node');
is(story($far), $local, 'and on a third');
q1("SELECT actorstore.put('t', id, to_jsonb(id)) FROM unnest('{$here,$there,$far}'::text[]) AS id");
is(join(' ', map { my $node = $_; map { on($node, $_) } $here, $there, $far } @nodes), qq{"$here"|0    "$there"|0    "$far"|0}, 'each lives on its node, and nowhere else');
is($three->safe_psql('d', "SELECT value FROM unnest('{$here,$there,$far}'::text[]) AS id, actorstore.get('t', id)"), qq{"$here"\n"$there"\n"$far"}, 'all are seen from a third');

# Rights are those of the caller, here and there.
sub as_role { my ($role, $sql) = @_; q1("SET ROLE $role"); my $answer = q1("SELECT attempt(\$a\$$sql\$a\$)"); q1('RESET ROLE'); return $answer =~ s/\ba\d\d\b/ID/gr; }
foreach my $call ([ 'alice', 'put', ", '8'" ], [ 'bob', 'get', '' ], [ 'bob', 'put', ", '9'" ], [ 'bob', 'delete', '' ])
{
	my ($role, $function, $rest) = @$call;
	my @answers = map { as_role($role, "SELECT value FROM actorstore.$function('t', '$_'$rest)") } $here, $there, $far;
	is("@answers[1, 2]", "$answers[0] $answers[0]" =~ s/"ID"/$function eq 'get' ? '8' : 'x'/ger, "$function by $role") if $function ne 'get';
	is("@answers", '8 8 8', "$function by $role") if $function eq 'get';
}
$two->safe_psql('d', q{DELETE FROM actorstore.type_grant WHERE grantee::text = 'alice' AND privilege = 'write'});
like(as_role('alice', "SELECT actorstore.put('t', '$there', '10')"), qr/^42501\|/, 'the owner checks again');
$two->safe_psql('d', q{DROP OWNED BY alice; DROP ROLE alice});
like(as_role('alice', "SELECT actorstore.get('t', '$there')"), qr/^42704\|role "alice" does not exist/, 'a role that is not there');
$two->safe_psql('d', q{CREATE ROLE alice LOGIN; GRANT CREATE ON DATABASE d TO alice});
$of{three}[1] = $one->safe_psql('d', q{SELECT id FROM (SELECT 'a' || i AS id FROM generate_series(10, 99) AS i) AS x WHERE actorstore.locate('implicit', id) = 'three' AND actorstore.locate('other', id) = 'three' LIMIT 1});
is(as_role('alice', "SELECT (actorstore.put('implicit', '$of{three}[1]', '1')).version"), '0', 'declared at the first insert');
is($three->safe_psql('d', q{SELECT owner::regrole FROM actorstore.type WHERE actor_type = 'implicit'}), 'alice', 'there, by who called');
like(as_role('bob', "SELECT actorstore.put('other', '$of{three}[1]', '1')"), qr/^42704\|/, 'who may not declare it');
like($one->safe_psql('d', q{SELECT attempt($$SELECT actorstore.local_state('bob', 2, 'g', 't', 'x', NULL, NULL)$$)}), qr/^42501\|only another node/, 'nobody but another node');

# How often another node is spoken to; the resolver does so, too, now and then.
sub trips_once { my (@sql) = @_; q1("SELECT actorstore.put('t', '$there', '0')"); my $before = trips(); q1($_) foreach @sql; return trips() - $before; }
sub trips_of { my (@sql) = @_; my ($least) = sort { $a <=> $b } map { trips_once(@sql) } 1 .. 3; return $least; }
is(trips_of("SELECT actorstore.get('t', '$there')"), 1, 'a read is one flight');
is(trips_of('BEGIN', ("SELECT actorstore.get('t', '$there')") x 3, 'COMMIT'), 3, 'in a transaction, too');
is(trips_of("SELECT actorstore.put('t', '$there', '1')"), 1, 'a write is one, with its COMMIT');
is(trips_of('BEGIN', ("SELECT actorstore.put('t', '$there', '1')", "SELECT actorstore.get('t', '$there')") x 2, 'COMMIT'), 5, 'a transaction is each, and COMMIT');
is(trips_of("SELECT actorstore.compare_and_swap('t', '$there', 0, '1')"), 1, 'compare_and_swap is one, too');

# One transaction: seen in it, undone with it, savepoints.
q1('BEGIN'); q1("SELECT actorstore.update('t', id, '20') FROM unnest('{$here,$there,$far}'::text[]) AS id");
is(q1("SELECT value FROM unnest('{$here,$there,$far}'::text[]) AS id, actorstore.get('t', id)"), "20\n20\n20", 'its own writes are seen');
isnt($two->safe_psql('d', "SELECT value FROM actorstore.get('t', '$far')"), '20', 'not by others');
q1('SAVEPOINT a'); q1("SELECT actorstore.update('t', '$there', '21')"); q1('ROLLBACK TO a');
is(q1("SELECT actorstore.insert('t', '$there', '22')"), 'ERROR:  23505', 'an error'); q1('ROLLBACK TO a');
is(q1("SELECT value FROM actorstore.get('t', '$there')"), '20', 'as before it');
q1('COMMIT');
is(join(' ', on($one, $here) =~ s/\|.*//r, on($two, $there) =~ s/\|.*//r, on($three, $far) =~ s/\|.*//r), '20 20 20', 'committed on all');
q1('BEGIN'); q1("SELECT actorstore.update('t', id, '30') FROM unnest('{$here,$there,$far}'::text[]) AS id"); q1('ROLLBACK');
is(join(' ', on($one, $here) =~ s/\|.*//r, on($two, $there) =~ s/\|.*//r, on($three, $far) =~ s/\|.*//r), '20 20 20', 'undone on all');
is(q1(qq{DO \$do\$ BEGIN FOR i IN 1 .. 20 LOOP BEGIN
	PERFORM actorstore.patch('t', '$there', jsonb_build_object(i, i));
	IF i % 2 = 0 THEN PERFORM actorstore.update_versioned('t', '$far', '1', -1); END IF;
	EXCEPTION WHEN serialization_failure THEN NULL; END; END LOOP; END \$do\$}), '', 'subtransactions in PL/pgSQL');
is($two->safe_psql('d', "SELECT count(*), sum(k::int) FROM actorstore.get('t', '$there') AS a, jsonb_object_keys(a.value) AS k"), '10|100', 'every second one');
q1('BEGIN ISOLATION LEVEL REPEATABLE READ'); q1("SELECT actorstore.get('t', '$far')");
$three->safe_psql('d', "SELECT actorstore.update('t', '$far', '31')");
is(q1("SELECT value FROM actorstore.get('t', '$far')"), '20', 'one snapshot under REPEATABLE READ');
is(q1("SELECT actorstore.update('t', '$far', '32')"), 'ERROR:  40001', 'that can be too old'); q1('ROLLBACK');
q1('BEGIN READ ONLY'); is(q1("SELECT actorstore.update('t', '$far', '33')"), 'ERROR:  25006', 'read only'); q1('ROLLBACK');

# Triggers, here and there, and handlers; none of it routes a second time.
$_->safe_psql('d', q{CREATE TABLE log (what text); GRANT ALL ON log TO PUBLIC}) foreach @nodes;
$two->safe_psql('d', q{CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO public.log VALUES (current_user || ' ' || NEW.value); RETURN NULL; END $$;
	CREATE TRIGGER note AFTER UPDATE ON actorstore.actor_t FOR EACH ROW EXECUTE FUNCTION note()});
q1('SET ROLE bob'); q1('RESET ROLE');
$three->safe_psql('d', q{SELECT actorstore.grant_type('t', 'bob', '{write}')});
is(as_role('bob', "SELECT (actorstore.update('t', '$there', '40')).value"), '40', 'a trigger there');
is($two->safe_psql('d', 'SELECT what FROM log'), 'bob 40', 'runs as the caller');
$two->safe_psql('d', qq{CREATE OR REPLACE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS \$\$ BEGIN PERFORM actorstore.put('t', '$far', '41'); RETURN NULL; END \$\$});
is(q1("SELECT actorstore.update('t', '$there', '42')"), 'ERROR:  0A000', 'and cannot route again');
is($two->safe_psql('d', "SELECT (actorstore.update('t', '$there', '43')).value"), '43', 'but can where it is the first');
is(on($three, $far) =~ s/\|.*//r, '41', 'which acts elsewhere');
$two->safe_psql('d', 'DROP TRIGGER note ON actorstore.actor_t');
$_->safe_psql('d', qq{CREATE FUNCTION act(state jsonb, body jsonb) RETURNS jsonb LANGUAGE plpgsql AS \$\$ BEGIN
	PERFORM actorstore.put('t', '$there', body), actorstore.put('t', '$far', body);
	IF body = '0' THEN RAISE 'no'; END IF;
	RETURN coalesce(state, '[]') || (actorstore.get('t', '$there')).value; END \$\$}) foreach @nodes;
$two->safe_psql('d', q{SELECT actorstore.set_handler('t', 'act', 'act(jsonb, jsonb)')});
is(q1("SELECT actorstore.ask('t', '$here', 'act', '50')"), '[20, 50]', 'a handler in a worker');
is(join(' ', on($two, $there) =~ s/\|.*//r, on($three, $far) =~ s/\|.*//r), '50 50', 'wrote on two other nodes');
like(q1("SELECT actorstore.ask('t', '$here', 'act', '0')"), qr/^ERROR:  P0001/, 'one that fails');
is(join(' ', on($two, $there) =~ s/\|.*//r, on($three, $far) =~ s/\|.*//r), '50 50', 'wrote nothing');
q1("SELECT count(actorstore.send('t', '$here', 'act', to_jsonb(100 + i))) FROM generate_series(1, 30) AS i");
ok(handled($one, 'd', 't'), 'many turns');
is(join(' ', on($two, $there) =~ s/\|.*//r, on($three, $far) =~ s/\|.*//r, $one->safe_psql('d', "SELECT jsonb_array_length(value) FROM actorstore.get('t', '$here')")), '130 130 32', 'have all been there');

# Cancelled while another node waits for a lock.
my $blocker = ActorstoreTest::Session->new($two, 'd');
$blocker->query('BEGIN'); $blocker->query("SELECT actorstore.update('t', '$there', '60')");
is(q1(qq{SET statement_timeout = '200ms'; SELECT actorstore.update('t', '$there', '61')}), 'ERROR:  57014', 'statement_timeout');
q1('RESET statement_timeout');
ok(comes_true($two, 'd', q{NOT EXISTS (SELECT FROM pg_stat_activity WHERE wait_event_type = 'Lock')}), 'nobody waits there');
is(q1(qq{SET lock_timeout = '100ms'; SELECT actorstore.update('t', '$there', '61')}), 'ERROR:  55P03', 'lock_timeout');
q1('RESET lock_timeout');
$session->start("SELECT actorstore.update('t', '$there', '62')");
ok(comes_true($two, 'd', q{EXISTS (SELECT FROM pg_stat_activity WHERE wait_event_type = 'Lock')}), 'waits');
$one->safe_psql('d', "SELECT pg_cancel_backend($session->{pid})");
is($session->finish, 'ERROR:  57014', 'cancelled');
ok(comes_true($two, 'd', q{NOT EXISTS (SELECT FROM pg_stat_activity WHERE wait_event_type = 'Lock')}), 'there, too');
$blocker->query('COMMIT');
is(q1("SELECT value FROM actorstore.get('t', '$there')"), '60', 'as the other one left it');

# No parallel worker asks another node; a standby alone, or no other node, is as before.
$one->safe_psql('d', 'CREATE TABLE ids AS SELECT format($$a%s$$, 10 + i % 90) AS id FROM generate_series(1, 20000) AS i; ANALYZE ids');
q1('SET parallel_setup_cost = 0; SET parallel_tuple_cost = 0; SET min_parallel_table_scan_size = 0');
like(q1(q{EXPLAIN (COSTS off) SELECT id FROM ids WHERE length(id) > 2}), qr/Gather/, 'there are parallel workers');
unlike(q1(q{EXPLAIN (COSTS off) SELECT id FROM ids WHERE (actorstore.get('t', id)).version > 2}), qr/Gather/, 'reads are left to the leader');
is(q1(q{SELECT count((actorstore.get('t', id)).value) FROM ids WHERE id IN ('} . join(q{', '}, $here, $there, $far) . q{')}), $one->safe_psql('d', "SELECT count(*) FROM ids WHERE id IN ('$here', '$there', '$far')"), 'which finds them all');

my $next_epoch = q{INSERT INTO actorstore.epoch (epoch, last_number, node_numbers, weights, owners) SELECT epoch + 1, last_number, node_numbers, weights, owners FROM actorstore.epoch ORDER BY epoch DESC LIMIT 1};

# A map that the owner does not have yet is fetched (120_newer_epoch.pl has more); an older one that names the same owner will do.
$one->safe_psql('d', $next_epoch);
is(q1("SELECT value FROM actorstore.get('t', '$there')"), '60', 'an epoch that the owner does not know');
$two->safe_psql('d', $next_epoch);
is(q1("SELECT value FROM actorstore.get('t', '$there')"), '60', 'an older one');

$_->quit foreach $session, $blocker;
$_->stop foreach @nodes;
done_testing();
