# call, ask and tell with actors of other nodes: what they return and raise is
# that of a local one; what a call does is part of the transaction; in whose
# name handlers and triggers run there, and what they cannot do.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";

use ActorstoreTest;
use Test::More;

my @nodes = new_cluster('one', 'two', 'three', { login => 'peer', settings => "deadlock_timeout = 10s\nactorstore.resolver_interval = 1h" });
my ($one, $two, $three) = @nodes;
foreach my $node (@nodes)
{
	$node->safe_psql('d', q{
		CREATE ROLE alice LOGIN; CREATE ROLE bob LOGIN; GRANT CREATE ON DATABASE d TO alice;
		CREATE TABLE done (what text);
		ALTER TABLE done OWNER TO alice;
		CREATE FUNCTION attempt(sql text) RETURNS text LANGUAGE plpgsql AS $$
		DECLARE
			a text; b text; c text; d text; e text;
		BEGIN
			EXECUTE sql INTO a;
			RETURN a;
		EXCEPTION WHEN OTHERS THEN
			GET STACKED DIAGNOSTICS a = RETURNED_SQLSTATE, b = MESSAGE_TEXT, c = PG_EXCEPTION_DETAIL, d = PG_EXCEPTION_HINT, e = PG_EXCEPTION_CONTEXT;
			RETURN concat_ws('|', a, b, c, d, CASE WHEN e ~ 'on node' THEN 'there' END);
		END $$;
		SET ROLE alice; CREATE SCHEMA app; GRANT USAGE ON SCHEMA app TO PUBLIC;
		CREATE FUNCTION app.run(state jsonb, body jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
		DECLARE
			answer text;
		BEGIN
			EXECUTE body ->> 'sql' INTO answer;
			INSERT INTO public.done VALUES (answer);
			PERFORM actorstore.reply(to_jsonb(answer));
			RETURN to_jsonb(coalesce(state, '0')::int + 1);
		END $$;
		CREATE FUNCTION app.count(state jsonb, body jsonb) RETURNS jsonb LANGUAGE sql RETURN to_jsonb(coalesce(state, '0')::int + 1)});
}
my $setup = ActorstoreTest::Session->new($two, 'd');
$setup->query('SET ROLE alice');
$setup->query(q{SELECT actorstore.create_type('t', max_attempts => 1), actorstore.set_handler('t', 'run', 'app.run(jsonb, jsonb)'), actorstore.set_handler('t', 'count', 'app.count(jsonb, jsonb)'),
	actorstore.grant_type('t', 'bob', '{ask,send}')});
$setup->quit;

my %of;
push @{ $of{ (split /\|/)[0] } }, (split /\|/)[1] foreach rows($one, 'd', q{SELECT actorstore.locate('t', 'a' || i), 'a' || i FROM generate_series(10, 199) AS i});
my ($here, $there, $far) = map { $of{$_}[0] } qw(one two three);
my ($here2, $there2, $far2) = map { $of{$_}[1] } qw(one two three);
my $session = ActorstoreTest::Session->new($one, 'd');
$session->query('SET ROLE bob');
sub q1 { return $session->query($_[0]); }
sub attempt { my ($sql) = @_; return q1("SELECT public.attempt(\$a\$$sql\$a\$)"); }
sub state_of { my ($id) = @_; return $one->safe_psql('d', "SELECT value FROM actorstore.get('t', '$id')"); }
sub done { return join ' ', map { $_->safe_psql('d', 'SELECT count(*) FROM done') } @nodes; }
sub run { my ($sql) = @_; return q{'run', jsonb_build_object('sql', $q$} . $sql . '$q$)'; }

# The same answers and errors, wherever the actor lives.
sub story
{
	my ($verb, $id) = @_;
	my @calls = ("SELECT actorstore.$verb('t', '$id', 'count')", "SELECT actorstore.$verb('t', '$id', 'count', '{\"a\": [1, null, \"x\\u0041€\"]}')",
		"SELECT actorstore.$verb('t', '$id', " . run('SELECT current_user') . ')',
		"SELECT actorstore.$verb('t', '$id', " . run('SELECT NULL') . ')',
		"SELECT actorstore.$verb('t', '$id', " . run(q{SELECT concat_ws(',', actor_type, version, message) FROM actorstore.context()}) . ')',
		"SELECT actorstore.$verb('t', '$id', " . run('SELECT 1 / 0') . ')', "SELECT actorstore.$verb('t', '$id', " . run(q{SELECT actorstore.reject('no')}) . ')',
		"SELECT actorstore.$verb('t', '$id', 'unknown')", "SELECT actorstore.$verb('t', '$id', '\$stop')", "SELECT actorstore.$verb('unknown', '$id', 'count')", "SELECT actorstore.$verb('t', '', 'count')");
	return join "\n", map { my $answer = attempt($_); $answer =~ s/\b$id\b/ID/gr =~ s/\|there$//r } @calls;
}
foreach my $verb ('call', 'ask')
{
	my $local = story($verb, $here);
	like($local, qr/^1\n2\n"alice"\n\n"t,3,run"\n22012\|division by zero\|\|\n/, "$verb: a story");
	like($local, qr/\nVA004\|.*\n42704\|.*\n22023\|/s, 'with its errors');
	is(story($verb, $there), $local, "$verb: the same on another node");
	is(story($verb, $far), $local, "$verb: and on a third");
	q1(qq{RESET ROLE; SELECT actorstore.delete('t', '$_'); SET ROLE bob}) foreach $here, $there, $far;
}
like(attempt("SELECT actorstore.call('t', '$there', " . run('SELECT 1 / 0') . ')'), qr/\|there$/, 'an error says where it was');
is(sqlstate($one, 'd', "SET ROLE bob; SELECT actorstore.call('t', '$there', NULL)"), '22023', 'no message');

# In this transaction: seen in it, undone with it, all or nothing.
q1('BEGIN'); is(q1("SELECT actorstore.call('t', id, 'count') FROM unnest('{$here,$there,$far,$there}'::text[]) AS id"), "1\n1\n1\n2", 'calls on three nodes');
is($two->safe_psql('d', "SELECT actorstore.get('t', '$there') IS NULL"), 't', 'not seen by others');
q1('SAVEPOINT s'); is(q1("SELECT actorstore.call('t', '$there', " . run('SELECT 1 / 0') . ')'), 'ERROR:  22012', 'an error'); q1('ROLLBACK TO s');
is(q1("SELECT actorstore.call('t', '$there', 'count')"), '3', 'goes on where it was'); q1('COMMIT');
is(join(' ', map { state_of($_) } $here, $there, $far), '1 3 1', 'committed on all');
my $before = done();
q1('BEGIN'); q1("SELECT actorstore.call('t', id, " . run(q{SELECT 1}) . ") FROM unnest('{$here,$there,$far}'::text[]) AS id"); q1('ROLLBACK');
is(join(' ', map { state_of($_) } $here, $there, $far), '1 3 1', 'undone on all');
is(done(), $before, 'with what the handlers wrote');
q1('BEGIN READ ONLY'); is(q1("SELECT actorstore.call('t', '$there', 'count')"), 'ERROR:  25006', 'read only'); q1('ROLLBACK');

# What a handler sends there, and the timers it sets, are handled once it is committed there, and only then.
my $inside = run(qq{SELECT concat(actorstore.send('t', '$there2', 'count') IS NOT NULL, actorstore.set_timer('t', '$there2', 'n', 'count', after => '1 ms'))});
q1('BEGIN'); is(q1("SELECT actorstore.call('t', id, $inside) FROM unnest('{$there}'::text[]) AS id"), '"t"', 'a handler sends and sets a timer'); q1("SELECT actorstore.call('t', '$here', 'count')");
q1('ROLLBACK');
is($two->safe_psql('d', "SELECT count(*) FROM actorstore.message"), '0', 'rolled back: nothing is sent');
is($two->safe_psql('d', "SELECT count(*) FROM actorstore.timer"), '0', 'nor set');
q1('BEGIN'); q1("SELECT actorstore.call('t', '$there', $inside)"); q1("SELECT actorstore.call('t', '$here', 'count')");
select(undef, undef, undef, 0.1);
is($two->safe_psql('d', "SELECT actorstore.get('t', '$there2') IS NULL"), 't', 'not handled before the commit');
q1('COMMIT');
ok(comes_true($two, 'd', "(SELECT value FROM actorstore.get('t', '$there2')) = '2'"), 'both are handled after COMMIT PREPARED');
q1('BEGIN'); q1("SELECT actorstore.call('t', '$there', $inside)"); q1('COMMIT');
ok(comes_true($two, 'd', "(SELECT value FROM actorstore.get('t', '$there2')) = '4'"), 'and after a commit in one phase');
is($_->safe_psql('d', 'SELECT count(*) FROM pg_prepared_xacts'), '0', 'nothing is left') foreach @nodes;

# A handler there cannot call on: neither a third node, nor back.
like(attempt("SELECT actorstore.call('t', '$there', " . run("SELECT actorstore.call('t', '$far', 'count')") . ')'), qr/^0A000\|what another node has called cannot call other nodes\|\|Use send\.\|there/, 'a call out of a call');
like(attempt("SELECT actorstore.call('t', '$here', " . run("SELECT actorstore.call('t', '$there', " . run("SELECT actorstore.call('t', '$here', 'count')") =~ s/\$q\$/\$r\$/gr . ')') =~ s/\$q\$/\$p\$/gr . ')'), qr/^0A000\|/, 'a circle over two nodes');
is(attempt("SELECT actorstore.call('t', '$there', " . run("SELECT actorstore.call('t', '$there2', 'count')") . ')'), '"5"', 'but an actor of its own node');
like(attempt("SELECT actorstore.call('t', '$there', " . run("SELECT actorstore.call('t', '$there', 'count')") . ')'), qr/^VA003\|/, 'not itself');
like(attempt("SELECT actorstore.call('t', '$here', " . run("SELECT actorstore.ask('t', '$there', 'count')") . ')'), qr/^VA003\|a handler cannot ask/, 'a handler does not ask');
is(q1("SELECT actorstore.ask('t', '$here', " . run("SELECT actorstore.call('t', '$there2', 'count')") . ')'), '"6"', 'a turn of a worker calls another node');

# In whose name: the handler runs as the type's owner, without a way out to the session's role.
foreach my $try ([ 'SET ROLE peer', '42501' ], [ 'RESET ROLE', '42501' ], [ 'SET SESSION AUTHORIZATION DEFAULT', '42501' ], [ q{SELECT set_config('role', 'none', false)}, '42501' ],
	[ 'CREATE TEMP TABLE x ()', '(0A000|42501)' ], [ 'SELECT INTO TEMP x', '(0A000|42501)' ], [ 'PREPARE as_0 AS SELECT 1', '42501' ], [ 'DEALLOCATE ALL', '42501' ], [ 'DISCARD PLANS', '(42501|25001)' ], [ 'LISTEN x', '(0A000|42501)' ],
	[ 'DECLARE c CURSOR WITH HOLD FOR SELECT 1', '(0A000|42501)' ], [ 'COMMIT', '(2D000|0A000)' ],
	[ q{SELECT actorstore.local_ask('bob', 99, 'c', 't', 'a', 'count', NULL, 0, NULL)}, '42501' ], [ q{SELECT actorstore.local_forget(gen_random_uuid(), 1, '1')}, '42501' ])
{
	my $answer = attempt("SELECT actorstore.call('t', '$there', " . run($try->[0]) . ')');
	like($answer, qr/^$try->[1]\|/, "a handler there: $try->[0]");
	like($answer, qr/security-restricted operation|security-definer function|within a security|cannot create temporary|a handler cannot|permission denied for function local_|invalid transaction termination|transaction block|EXECUTE of transaction commands|cannot be executed from a function/, 'for that reason');
}
$_->safe_psql('d', q{CREATE FUNCTION definer() RETURNS text SECURITY DEFINER LANGUAGE plpgsql AS $$ BEGIN
	RETURN (SELECT l::text FROM actorstore.local_ask('bob', 99, 'c', 't', 'a', 'count', NULL, 0, NULL) AS l); END $$}) foreach @nodes;
like(attempt("SELECT actorstore.call('t', '$there', " . run('SELECT public.definer()') . ')'), qr/^42501\|only another node/, 'a SECURITY DEFINER function of a superuser, even');

# Settings are put back; what is put off to the commit is done at once, as who did it.
is(attempt("SELECT actorstore.call('t', '$there', " . run(q{SELECT set_config('search_path', 'app', false) || set_config('work_mem', '77kB', false)}) . ')'), '"app77kB"', 'settings of a handler');
is(attempt("SELECT actorstore.call('t', '$there', " . run(q{SELECT current_setting('work_mem')}) . ')'), '"4MB"', 'are gone');
$two->safe_psql('d', q{SET ROLE alice; CREATE TABLE app.late (what text);
	CREATE FUNCTION app.late() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO public.done VALUES ('late: ' || current_user); RETURN NULL; END $$;
	CREATE CONSTRAINT TRIGGER late AFTER INSERT ON app.late DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION app.late()});
is(attempt("SELECT actorstore.call('t', '$there', " . run(q{WITH x AS (INSERT INTO app.late VALUES ('x')) SELECT 'in'}) . ')'), '"in"', 'a constraint trigger that is put off');
is($two->safe_psql('d', q{SELECT what FROM done WHERE what LIKE 'late%'}), 'late: alice', 'runs as who caused it, not as the login role');
like(attempt("SELECT actorstore.call('t', '$there', " . run(q{WITH x AS (INSERT INTO app.late VALUES ('x')) SELECT set_config('x.y', 'z', false)}) =~ s/EXECUTE//r . ')'), qr/^"z"/, 'again');
like(attempt("SELECT actorstore.call('t', '$there', " . run(q{DO $d$ BEGIN SET CONSTRAINTS ALL DEFERRED; INSERT INTO app.late VALUES ('y'); END $d$}) . ')'), qr/^42501\|cannot fire deferred trigger/, 'a handler cannot put it off');

# Rights: as locally, and the owner checks again.
$one->safe_psql('d', q{SELECT actorstore.revoke_type('t', 'bob', '{send}')});
like(attempt("SELECT actorstore.tell('t', '$there', 'count')"), qr/^42501\|permission denied for actor type "t"\|/, 'no right to send');
$two->safe_psql('d', q{DELETE FROM actorstore.type_grant WHERE privilege = 'ask'});
like(attempt("SELECT actorstore.$_('t', '$there', 'count')"), qr/^42501\|.*\|there$/, "the owner refuses $_") foreach 'call', 'ask';
$one->safe_psql('d', q{SELECT actorstore.grant_type('t', 'bob', '{ask,send}')});
is($one->safe_psql('d', "SELECT actorstore.call('t', '$there2', 'count')"), '7', 'a superuser calls: the owner of the type stands in');
$two->safe_psql('d', "SELECT actorstore.pause('t', '$there2')");
like(attempt("SELECT actorstore.$_('t', '$there2', 'count')"), qr/^VA005\|/, "$_: paused there") foreach 'call', 'ask';
$two->safe_psql('d', "SELECT actorstore.resume('t', '$there2')");

# ask stands outside of the transaction.
q1("RESET ROLE; SELECT actorstore.put('t', '$_', '100'); SET ROLE bob") foreach $there, $there2;
q1('BEGIN'); is(q1("SELECT actorstore.ask('t', '$there', 'count')"), '101', 'asked in a transaction'); q1('ROLLBACK');
is(state_of($there), '101', 'it stays done');
q1('BEGIN'); q1("SELECT actorstore.call('t', '$there', 'count')");
is(q1("SELECT actorstore.ask('t', '$there2', 'count')"), '101', 'where the transaction has work there');
q1('ROLLBACK');
is(state_of($there) . ' ' . state_of($there2), '101 101', 'the one is undone, the other is not');
q1('BEGIN'); q1("SELECT actorstore.call('t', '$there', 'count')");
is(q1("SELECT actorstore.ask('t', '$there', 'count', timeout => '1 min')"), 'ERROR:  VA003', 'an actor that this transaction has locked there'); q1('ROLLBACK');
my $refused = 0;
foreach (1 .. 100)
{
	q1('BEGIN'); q1("SELECT actorstore.call('t', '$there', 'count')"); $refused++ if q1("SELECT actorstore.ask('t', '$there', 'count', timeout => '1 min')") eq 'ERROR:  VA003'; q1('ROLLBACK');
}
is($refused . ' ' . state_of($there), '100 101', 'what was refused is not handled, not even once the lock is gone');
is(q1("SELECT actorstore.ask('t', '$there', 'count', NULL, '5 s', 'key') FROM generate_series(1, 3)"), "102\n102\n102", 'dedup_key');
is(state_of($there), '102', 'handled once');

# Time-outs, cancels, askers that go away.
my $blocker = ActorstoreTest::Session->new($two, 'd');
$blocker->query("BEGIN; SELECT actorstore.put('t', '$there', '200')");
like(attempt("SELECT actorstore.ask('t', '$there', 'count', timeout => '50 ms')"), qr/^VA002\|actor \(t, $there\) has not answered in time\|The message may still be handled\..*there$/, 'time-out');
is(q1("SET statement_timeout = '100 ms'; SELECT actorstore.ask('t', '$there', 'count', timeout => '1 h')"), 'ERROR:  57014', 'statement_timeout');
is(q1("SELECT actorstore.call('t', '$there', 'count')"), 'ERROR:  57014', 'of a call');
q1('RESET statement_timeout');
my $nobody = q{NOT EXISTS (SELECT FROM pg_stat_activity WHERE application_name = 'actorstore peer' AND state = 'active' AND query ~ 'local_ask')};
ok(comes_true($two, 'd', $nobody), 'nobody waits there any more');
foreach my $verb ('ask', 'call')
{
	$session->start("SELECT actorstore.$verb('t', '$there', 'count')" =~ s/(ask.*)\)$/$1, timeout => '1 h')/r);
	ok(comes_true($two, 'd', $nobody =~ s/^NOT //r), "$verb: waits there");
	$one->safe_psql('d', "SELECT pg_cancel_backend($session->{pid})");
	is($session->finish, 'ERROR:  57014', 'cancelled');
	ok(comes_true($two, 'd', $nobody), 'there as well');
}
$session->start("SELECT actorstore.ask('t', '$there', 'count', timeout => '1 h')");
ok(comes_true($two, 'd', $nobody =~ s/^NOT //r), 'an asker waits there');
$one->safe_psql('d', "SELECT pg_terminate_backend($session->{pid})");
ok(comes_true($two, 'd', $nobody), 'until he goes away');
$blocker->query('ROLLBACK');
$session = ActorstoreTest::Session->new($one, 'd');
q1('SET ROLE bob');

# tell
q1("SELECT actorstore.tell('t', '$far2', 'count') FROM generate_series(1, 100)");
ok(comes_true($three, 'd', "(SELECT value FROM actorstore.get('t', '$far2')) = '100'"), 'told');
q1('BEGIN'); q1("SELECT actorstore.tell('t', '$far2', 'count')"); q1('ROLLBACK');
ok(comes_true($three, 'd', "(SELECT value FROM actorstore.get('t', '$far2')) = '101'"), 'even if it is rolled back');
q1('BEGIN'); q1("SELECT actorstore.call('t', '$far', 'count')"); is(q1("SELECT actorstore.tell('t', '$far2', 'count')"), '', 'where the transaction has work'); q1('ROLLBACK');
ok(comes_true($three, 'd', "(SELECT value FROM actorstore.get('t', '$far2')) = '102'"), 'told as well');
is(q1("SELECT actorstore.tell('t', '$far2', 'count', to_jsonb(repeat('x', 100000))) FROM generate_series(1, 200)") =~ s/\n//gr, '', 'more than fits on the way');
is(q1("SELECT actorstore.tell('t', '$far2', 'unknown')"), 'ERROR:  VA004', 'no handler');
is(q1("SELECT actorstore.ask('t', '$far', 'count') > '0'"), 't', 'the connection goes on');

# Out of reach.
foreach my $sql ("SELECT actorstore.ask('t', '$far', 'count', timeout => '1 h')", "SELECT actorstore.call('t', '$far', 'count')", "BEGIN; SELECT actorstore.call('t', id, 'count') FROM unnest('{$here,$there,$far2,$far}'::text[]) AS id")
{
	my $locks = ActorstoreTest::Session->new($three, 'd');
	my $before = join ' ', map { state_of($_) } $here, $there, $far, $far2;
	$locks->query("BEGIN; SELECT actorstore.put('t', '$far', '0')");
	$session->start($sql);
	ok(comes_true($three, 'd', $nobody =~ s/^NOT //r), 'waits on a node');
	$three->stop('immediate');
	like($session->finish, qr/^ERROR:  08006$/, 'which dies');
	q1('ROLLBACK');
	$three->start;
	is(join(' ', map { state_of($_) } $here, $there, $far, $far2), $before, 'nothing has happened');
	is($_->safe_psql('d', 'SELECT count(*) FROM pg_prepared_xacts'), '0', 'nor is anything left') foreach @nodes;
	$locks->quit;
}
$three->stop('immediate');
is(q1("SELECT actorstore.$_('t', '$far', 'count')"), 'ERROR:  08006', "$_: a node that is down") foreach 'call', 'ask', 'tell';
$three->start;
is(q1("SELECT actorstore.call('t', '$far', 'count') > '0'"), 't', 'it is back');

$_->quit foreach $session, $blocker;
$_->stop foreach @nodes;
done_testing();
