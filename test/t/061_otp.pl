# Links, monitors and supervisors follow the rules that Erlang/OTP documents
# (Processes, gen_server, supervisor, pg in its reference manual).  The table
# in docs/supervision.md lists them; each rule's name stands before the tests
# that show it, and where ours differs the table says why.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";

use ActorstoreTest;
use Test::More;

my $node = new_node('otp', settings => "actorstore.workers = 2");
new_database_with_actors($node, 'd');

my %shown;
my $rule = '';
sub rule { ($rule) = @_; $shown{$rule} = 1; sql('TRUNCATE seen'); return; }
sub same { my ($got, $expected, $what) = @_; return is($got, $expected, "$rule: $what"); }
sub sql { my ($sql) = @_; return $node->safe_psql('d', $sql, kept => 1); }
sub quiet { return comes_true($node, 'd', 'NOT EXISTS (SELECT FROM actorstore.message)', kept => 1) || fail("$rule: mail is left"); }
sub seen { quiet(); return sql(q{WITH x AS (DELETE FROM seen RETURNING n, what) SELECT coalesce(string_agg(what, ', ' ORDER BY n), '') FROM x}); }

# Have an actor run SQL in a handler, in the order given.
sub run { my ($type, $id, $sql) = @_; sql(qq{SELECT actorstore.send('$type', '$id', 'do', jsonb_build_object('sql', \$sql\$$sql\$sql\$))}); quiet(); return; }
sub stop { my ($type, $id, $reason) = @_; return run($type, $id, "SELECT actorstore.stop('$reason')"); }
sub crash { my ($type, $id) = @_; return run($type, $id, 'SELECT 1/0'); }
sub alive { my (@ids) = @_; run('t', 'maker', "SELECT actorstore.spawn('w', '$_', '\"new\"')") foreach @ids; return; }

# Who has exited, and why
sub gone { my ($pattern) = @_; return sql(qq{SELECT coalesce(string_agg(actor_id || ' ' || reason, ', ' ORDER BY actor_id), '') FROM actorstore.halted_actor WHERE actor_id ~ '^$pattern'}); }

# Workers say that they stop and begin again, and exit at their first failure; trappers handle $exit and $down.
sql(q{
CREATE FUNCTION act(state jsonb, body jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
	EXECUTE body->>'sql';
	RETURN coalesce(body->'state', '"used"');
END $$;
CREATE FUNCTION hook(state jsonb, body jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
	INSERT INTO seen (what) SELECT actor_id || CASE message WHEN '$stop' THEN ' stops' ELSE ' starts' END FROM actorstore.context();
	IF state = '"cannot start"' AND (SELECT message FROM actorstore.context()) = '$post_restart' THEN RAISE EXCEPTION 'it cannot'; END IF;
	RETURN NULL;
END $$;
CREATE FUNCTION told(state jsonb, body jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
	INSERT INTO seen (what) SELECT format('%s got %s of %s: %s', actor_id, message, body->>'actor_id', body->>'reason') FROM actorstore.context();
	RETURN NULL;
END $$;
SELECT actorstore.create_type(t, max_attempts => 1, on_exhausted => 'escalate'), actorstore.set_handler(t, '*', 'act(jsonb, jsonb)') FROM unnest(ARRAY['w', 't', 'sup']) AS t;
SELECT actorstore.set_handler('w', h, 'hook(jsonb, jsonb)') FROM unnest(ARRAY['$stop', '$post_restart']) AS h;
SELECT actorstore.set_handler('t', h, 'told(jsonb, jsonb)') FROM unnest(ARRAY['$exit', '$down']) AS h;
});

# A supervisor of its own for each test, with workers by the same letter: supervise('x', 3, "strategy => ...") makes x1, x2, x3.
sub supervise
{
	my ($name, $n, $options, $restart) = @_;
	alive(map { "$name$_" } 1 .. $n);
	$options ||= '';
	sql(qq{SELECT actorstore.supervise('sup', '$name', 'w', '$name' || i $options} . ($restart ? ", restart => '$restart'" : '') . qq{) FROM generate_series(1, $n) AS i ORDER BY i});
	seen();
	return;
}

# ---- Links ----

rule('link, both ways');
alive(qw(la1 la2));
run('w', 'la1', q{SELECT actorstore.link('w', 'la2')});
stop('w', 'la2', 'broken');
same(gone('la'), 'la1 broken, la2 broken', 'whoever exits');

rule('link, once');
alive(qw(lb1));
run('t', 'trap', q{SELECT actorstore.link('w', 'lb1'), actorstore.link('w', 'lb1')});
run('t', 'trap', q{SELECT actorstore.link('w', 'lb1')});
stop('w', 'lb1', 'broken');
same(seen(), 'lb1 stops, trap got $exit of lb1: broken', 'one signal');

rule('link, itself');
alive(qw(lc1));
run('w', 'lc1', q{SELECT actorstore.link('w', 'lc1')});
same(sql(q{SELECT count(*) FROM actorstore.link}), 0, 'no link');

rule('link, nobody');
alive(qw(ld1));
run('w', 'ld1', q{SELECT actorstore.link('w', 'nobody')});
run('t', 'trap', q{SELECT actorstore.link('w', 'ld1')});
same(gone('ld'), 'ld1 noproc', 'noproc');
same(seen(), 'ld1 stops, trap got $exit of ld1: noproc', 'noproc, trapped');

rule('exit, normal');
alive(qw(le1 le2));
run('w', 'le1', q{SELECT actorstore.link('w', 'le2')});
stop('w', 'le1', 'normal');
same(gone('le'), 'le1 normal', 'the other one goes on');

rule('exit, abnormal');
alive(qw(lf1 lf2 lf3));
run('w', 'lf1', q{SELECT actorstore.link('w', 'lf2')});
run('w', 'lf2', q{SELECT actorstore.link('w', 'lf3')});
crash('w', 'lf1');
same(gone('lf'), 'lf1 22012: division by zero, lf2 22012: division by zero, lf3 22012: division by zero', 'all of them, with the same reason');
seen();

rule('exit, trapped');
alive(qw(lg1 lg2));
run('t', 'trap', q{SELECT actorstore.link('w', 'lg1'), actorstore.link('w', 'lg2')});
stop('w', 'lg1', 'broken');
stop('w', 'lg2', 'normal');
same(seen(), 'lg1 stops, trap got $exit of lg1: broken, lg2 stops, trap got $exit of lg2: normal', 'a message, also of a normal one');
same(gone('trap'), '', 'and it goes on');

rule('unlink');
alive(qw(lh1 lh2));
run('w', 'lh1', q{SELECT actorstore.link('w', 'lh2')});
run('w', 'lh2', q{SELECT actorstore.unlink('w', 'lh1'), actorstore.unlink('w', 'lh1')});
stop('w', 'lh1', 'broken');
same(gone('lh'), 'lh1 broken', 'no signal');
seen();

# ---- Monitors ----

rule('monitor, one way');
alive(qw(ma1 ma2));
run('w', 'ma1', q{SELECT actorstore.monitor('w', 'ma2')});
stop('w', 'ma1', 'broken');
same(gone('ma'), 'ma1 broken', 'the target does not notice');
seen();

rule('monitor, down');
alive(qw(mb1 mb2));
run('t', 'trap', q{SELECT actorstore.monitor('w', 'mb1'), actorstore.monitor('w', 'mb2')});
stop('w', 'mb1', 'broken');
stop('w', 'mb2', 'normal');
same(seen(), 'mb1 stops, trap got $down of mb1: broken, mb2 stops, trap got $down of mb2: normal', 'with any reason');
sql(q{SELECT actorstore.resume('w', 'mb1')});
stop('w', 'mb1', 'again');
same(seen(), 'mb1 stops', 'once');

rule('monitor, nobody');
run('t', 'trap', q{SELECT actorstore.monitor('w', 'nobody'), actorstore.monitor('w', 'mb1')});
same(join(', ', sort split /, /, seen()), 'trap got $down of mb1: noproc, trap got $down of nobody: noproc', 'never there, or stopped already');

rule('monitor, twice');
alive(qw(mc1));
run('t', 'trap', q{SELECT actorstore.monitor('w', 'mc1'), actorstore.monitor('w', 'mc1')});
stop('w', 'mc1', 'broken');
same(seen(), 'mc1 stops, trap got $down of mc1: broken', 'one message');

rule('demonitor');
alive(qw(md1));
run('t', 'trap', q{SELECT actorstore.monitor('w', 'md1')});
run('t', 'trap', q{SELECT actorstore.demonitor('w', 'md1')});
stop('w', 'md1', 'broken');
same(seen(), 'md1 stops', 'no message');

# ---- Servers ----

rule('server, terminate');
alive(qw(sa1));
stop('w', 'sa1', 'broken');
same(seen(), 'sa1 stops', '$stop is called');

rule('server, killed by a link');
alive(qw(sb1 sb2));
run('w', 'sb1', q{SELECT actorstore.link('w', 'sb2')});
stop('w', 'sb1', 'broken');
same(seen(), 'sb1 stops, sb2 stops', '$stop is called, too');

# ---- Supervisors ----

rule('one_for_one');
supervise('a', 3, ", strategy => 'one_for_one'");
crash('w', 'a2');
same(seen(), 'a2 stops, a2 starts', 'the one');
same(gone('a'), '', 'all are there');
same(sql(q{SELECT value FROM actorstore.get('w', 'a2')}), '"new"', 'with the state of spawn');

rule('one_for_all');
supervise('b', 3, ", strategy => 'one_for_all'");
crash('w', 'b2');
same(seen(), 'b2 stops, b3 stops, b1 stops, b1 starts, b2 starts, b3 starts', 'the others stop, last one first; all start, first one first');
same(gone('b'), '', 'all are there');

rule('rest_for_one');
supervise('c', 4, ", strategy => 'rest_for_one'");
crash('w', 'c2');
same(seen(), 'c2 stops, c4 stops, c3 stops, c2 starts, c3 starts, c4 starts', 'those started later');
crash('w', 'c4');
same(seen(), 'c4 stops, c4 starts', 'the last one');
crash('w', 'c1');
same(seen(), 'c1 stops, c4 stops, c3 stops, c2 stops, c1 starts, c2 starts, c3 starts, c4 starts', 'the first one');

rule('intensity, reached');
supervise('d', 2, ", max_restarts => 2, period => '1 h'");
crash('w', 'd1');
crash('w', 'd2');
same(gone('d'), '', 'so many restarts are allowed');
seen();

rule('intensity, exceeded');
crash('w', 'd1');
same(gone('d'), 'd shutdown, d1 22012: division by zero, d2 shutdown', 'one more, and the supervisor exits, with its children');
same(seen(), 'd1 stops, d2 stops', 'which are not started again');
same(sql(q{SELECT event, restarts FROM actorstore.supervision_log WHERE parent_id = 'd' AND event IN ('restart', 'gave up')}), "restart|1\nrestart|2\ngave up|3", 'the log');

rule('intensity, 0');
supervise('e', 1, ", max_restarts => 0");
crash('w', 'e1');
same(gone('e'), 'e shutdown, e1 22012: division by zero', 'no restart');
seen();

rule('intensity, period');
supervise('f', 1, ", max_restarts => 1, period => '300 ms'");
crash('w', 'f1');
sql('SELECT pg_sleep(0.5)');
crash('w', 'f1');
same(gone('f'), '', 'old restarts do not count');
seen();

rule('intensity, of all children');
supervise('g', 3, ", strategy => 'one_for_all', max_restarts => 1, period => '1 h'");
crash('w', 'g1');
same(gone('g'), '', 'a restart of all counts once');
crash('w', 'g2');
same(gone('g'), 'g shutdown, g1 shutdown, g2 22012: division by zero, g3 shutdown', 'two crashes are too many');
seen();

rule('permanent');
supervise('h', 1, '', 'permanent');
stop('w', 'h1', $_) foreach 'normal', 'shutdown', 'broken';
same(seen(), join(', ', ('h1 stops, h1 starts') x 3), 'restarted after any exit');

rule('transient');
supervise('i', 3, '', 'transient');
stop('w', 'i1', 'normal');
stop('w', 'i2', 'shutdown');
stop('w', 'i3', 'shutdown: for a reason');
same(gone('i'), 'i1 normal, i2 shutdown, i3 shutdown: for a reason', 'not after a normal one');
same(sql(q{SELECT DISTINCT state FROM actorstore.halted_actor WHERE actor_id ~ '^i'}), 'stopped', 'they are stopped');
sql(q{SELECT actorstore.resume('w', 'i1')});
seen();
crash('w', 'i1');
same(seen(), 'i1 stops, i1 starts', 'but after another one');

rule('temporary');
supervise('j', 3, ", strategy => 'one_for_all'", 'temporary');
sql(q{SELECT actorstore.unsupervise('w', 'j1'), actorstore.supervise('sup', 'j', 'w', 'j1', 'one_for_all', restart => 'permanent')});
crash('w', 'j2');
same(seen(), 'j2 stops', 'never');
same(sql(q{SELECT string_agg(child_id, ' ' ORDER BY start_order) FROM actorstore.supervision WHERE parent_id = 'j'}), 'j3 j1', 'it is a child no more');
crash('w', 'j1');
same(seen(), 'j1 stops, j3 stops, j1 starts', 'nor with the others');
same(sql(q{SELECT child_id FROM actorstore.supervision WHERE parent_id = 'j'}), 'j1', 'it is a child no more');

rule('supervisor exits');
supervise('k', 3);
stop('sup', 'k', 'enough');
same(seen(), 'k3 stops, k2 stops, k1 stops', 'its children stop, last one first');
same(gone('k'), 'k enough, k1 shutdown, k2 shutdown, k3 shutdown', 'with shutdown');

rule('supervisor is told last');
supervise('l', 2);
run('t', 'trap', q{SELECT actorstore.monitor('sup', 'l')});
stop('sup', 'l', 'enough');
same(seen(), 'l2 stops, l1 stops, trap got $down of l: enough', 'once its children have stopped');

rule('escalation');
supervise('m', 2, ", max_restarts => 0");
sql(q{SELECT actorstore.supervise('sup', 'top', 'sup', 'm', restart => 'permanent')});
crash('w', 'm2');
same(seen(), 'm2 stops, m1 stops, m1 starts, m2 starts', 'its supervisor restarts it, and its children start');
same(gone(q{m[0-9]?$}) . gone(q{top}), q{}, q{all are there});
same(sql(q{SELECT child_id, event FROM actorstore.supervision_log WHERE parent_id = 'top' AND event = 'restart'}), 'm|restart', 'the log');

rule('escalation, to the top');
supervise('n', 1, ", max_restarts => 0");
sql(q{SELECT actorstore.supervise('sup', 'ntop', 'sup', 'n', max_restarts => 0)});
crash('w', 'n1');
same(gone('n'), 'n shutdown, n1 22012: division by zero, ntop shutdown', 'all of them exit');
same(sql(q{SELECT DISTINCT state FROM actorstore.halted_actor WHERE actor_id ~ '^n'}), 'stopped', 'for good');

rule('a transient supervisor gives up');
supervise('o', 1, ", max_restarts => 0");
sql(q{SELECT actorstore.supervise('sup', 'otop', 'sup', 'o', restart => 'transient')});
seen();
crash('w', 'o1');
same(seen(), 'o1 stops, o1 starts', 'it is restarted');

rule('start fails');
supervise('p', 1, ", max_restarts => 3, period => '1 h'");
run('t', 'maker', q{SELECT actorstore.spawn('w', 'p2', '"cannot start"'), actorstore.spawn('w', 'p3', '"new"')});
sql(q{SELECT actorstore.supervise('sup', 'p', 'w', 'p2', max_restarts => 3, period => '1 h')});
crash('w', 'p2');
same(gone('p'), 'p shutdown, p1 shutdown, p2 restart failed: P0001: it cannot', 'counts as one more failure, until it is too many');
seen();

rule('exits during a restart');
supervise('q', 4, ", strategy => 'rest_for_one', max_restarts => 9");
sql(q{SELECT actorstore.pause('w', 'q4')});
sql(q{SELECT actorstore.send('w', 'q3', 'do', '{"sql": "SELECT 1/0"}') \g /dev/null});
comes_true($node, 'd', q{EXISTS (SELECT FROM actorstore.message WHERE message = '$shutdown' AND actor_id = 'q4') AND NOT EXISTS (SELECT FROM actorstore.message WHERE actor_id IN ('q3', 'q'))});
sql(q{SELECT actorstore.send('w', 'q1', 'do', '{"sql": "SELECT 1/0"}') \g /dev/null});
comes_true($node, 'd', q{EXISTS (SELECT FROM actorstore.supervision_step WHERE action = 'report' AND child_id = 'q1')});
same(sql(q{WITH x AS (DELETE FROM seen RETURNING n, what) SELECT string_agg(what, ', ' ORDER BY n) FROM x}), 'q3 stops, q1 stops', 'the supervisor waits for the one that stops');
sql(q{SELECT actorstore.resume('w', 'q4')});
same(seen(), 'q4 stops, q3 starts, q4 starts, q4 stops, q3 stops, q2 stops, q1 starts, q2 starts, q3 starts, q4 starts', 'and takes the next one then');
same(gone('q'), '', 'all are there');

rule('state and mail of a restart');
supervise('r', 1);
sql(q{SELECT actorstore.pause('w', 'r1'); SELECT actorstore.send('w', 'r1', 'do', b) FROM (VALUES ('{"sql": "SELECT 1"}'::jsonb), ('{"sql": "SELECT 1/0"}'), ('{"sql": "SELECT 2"}')) AS x (b); SELECT actorstore.resume('w', 'r1')});
same(seen(), 'r1 stops, r1 starts', 'restarted');
same(sql(q{SELECT value, (SELECT count(*) FROM actorstore.dead_letter WHERE actor_id = 'r1') FROM actorstore.get('w', 'r1')}), '"used"|1', 'mail behind the failure is handled; the failure alone is dead');
sql(q{SELECT actorstore.supervise('sup', 'r', 'w', 'r1', keep_state => true)});
run('w', 'r1', 'SELECT 1');
crash('w', 'r1');
same(sql(q{SELECT value FROM actorstore.get('w', 'r1')}), '"used"', 'keep_state keeps the state');
seen();

rule('delete_child');
supervise('s', 2);
same(sql(q{SELECT actorstore.unsupervise('w', 's1'), actorstore.unsupervise('w', 's1')}), 't|f', 'once');
crash('w', 's1');
same(seen(), 's1 stops', 'it is not restarted');
same(sql(q{SELECT state FROM actorstore.halted_actor WHERE actor_id = 's1'}), 'stopped', 'but stopped');

rule('shutdown time');
supervise('xx', 2, ", strategy => 'one_for_all'");
sql(q{CREATE FUNCTION stubborn(state jsonb, body jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
	LOOP
		BEGIN
			PERFORM pg_sleep(100);
		EXCEPTION WHEN query_canceled THEN
		END;
	END LOOP;
END $$;
SELECT actorstore.create_type('stubborn', max_attempts => 1, on_exhausted => 'escalate', turn_timeout => '100 ms', backoff => '10 ms'), actorstore.set_handler('stubborn', '*', 'act(jsonb, jsonb)'), actorstore.set_handler('stubborn', '$stop', 'stubborn(jsonb, jsonb)');
SELECT actorstore.put('stubborn', 'xx3', '1'), actorstore.supervise('sup', 'xx', 'stubborn', 'xx3', strategy => 'one_for_all')});
crash('w', 'xx1');
same(seen(), 'xx1 stops, xx2 stops, xx1 starts, xx2 starts', 'one that will not stop does');
same(sql(q{SELECT event, reason FROM actorstore.supervision_log WHERE child_id = 'xx3' AND event <> 'supervised'}), "\$stop failed|it has failed too often\nstopped|shutdown\nrestarted|22012: division by zero", 'without its $stop');
same(gone('xx'), '', 'all are there');

rule('linked children');
supervise('u', 2);
run('w', 'u1', q{SELECT actorstore.link('w', 'u2')});
crash('w', 'u1');
is_deeply([ sort split /, /, seen() ], [ 'u1 starts', 'u1 stops', 'u2 starts', 'u2 stops' ], "$rule: each is restarted");
same(sql(q{SELECT count(*) FROM actorstore.supervision_log WHERE parent_id = 'u' AND event = 'restart'}), 2, 'each counts');

rule('groups');
alive(qw(v1));
sql(q{SELECT actorstore.join_group('g', 'w', 'v1')});
stop('w', 'v1', 'normal');
same(sql(q{SELECT count(*) FROM actorstore.group_members}), 0, 'who exits leaves them');

# ---- The supervisor as an operator sees it ----

rule('');
supervise('z', 2, ", strategy => 'one_for_all'");
stop('sup', 'z', 'enough');
sql(q{SELECT actorstore.resume('sup', 'z')});
is(seen(), 'z2 stops, z1 stops, z1 starts, z2 starts', 'a supervisor that goes on starts its children');
is(sqlstate($node, 'd', q{SELECT actorstore.resume('w', 'z1')}), '00000', 'resume of who runs');
stop('sup', 'z', 'enough');
sql(q{SELECT actorstore.resume('w', 'z2')});
crash('w', 'z2');
is(gone('z2'), 'z2 22012: division by zero', 'a child of a stopped supervisor is not restarted');
is(sql(q{SELECT state FROM actorstore.halted_actor WHERE actor_id = 'z2'}), 'stopped', 'it is stopped');
seen();

my %bad = (
	q{'sup', 'x', 'sup', 'x'} => '42P17', q{'w', 'm1', 'sup', 'top'} => '42P17', q{'sup', 'm', 'sup', 'top'} => '42P17',
	q{'sup', 'x', 'w', 'm1'} => '23505', q{'sup', 'z', 'w', 'y'} => 'VA005',
	q{'unknown', 'x', 'w', 'y'} => '42704', q{'sup', 'x', 'unknown', 'y'} => '42704', q{'', 'x', 'w', 'y'} => '22023', q{'sup', NULL, 'w', 'y'} => '22023',
	q{'sup', 'x', 'w', 'y', 'all'} => '22023', q{'sup', 'x', 'w', 'y', NULL} => '22004', q{'sup', 'x', 'w', 'y', max_restarts => -1} => '22023',
	q{'sup', 'x', 'w', 'y', period => '0'} => '22023', q{'sup', 'x', 'w', 'y', period => NULL} => '22004', q{'sup', 'x', 'w', 'y', restart => 'often'} => '22023', q{'sup', 'x', 'w', 'y', keep_state => NULL} => '22004');
is(sqlstate($node, 'd', "SELECT actorstore.supervise($_)"), $bad{$_}, "bad input: $_") foreach sort keys %bad;
is(sqlstate($node, 'd', q{SELECT actorstore.unsupervise('unknown', 'x')}), '42704', 'bad input: unsupervise');
sql(q{CREATE ROLE other; CREATE ROLE owner; GRANT CREATE ON DATABASE d TO owner, other; GRANT EXECUTE ON FUNCTION actorstore.supervise, actorstore.unsupervise TO owner, other;
	SET ROLE owner; SELECT actorstore.create_type('owned'), actorstore.grant_type('owned', 'other', '{read, write, send, ask}'); RESET ROLE;
	SET ROLE other; SELECT actorstore.create_type('others')});
is(sqlstate($node, 'd', q{SET ROLE owner; SELECT actorstore.supervise('owned', 'a', 'owned', 'b')}), '00000', 'rights: of ones own types');
is(sqlstate($node, 'd', q{SET ROLE other; SELECT actorstore.supervise('others', 'a', 'owned', 'c')}), '42501', 'rights: not of others');
is(sqlstate($node, 'd', q{SET ROLE owner; SELECT actorstore.supervise('others', 'a', 'owned', 'c')}), '42501', 'rights: nor by others');
is(sqlstate($node, 'd', q{SET ROLE other; SELECT actorstore.unsupervise('owned', 'b')}), '42501', 'rights: nor to end it');
is(sql(q{SET ROLE other; SELECT (SELECT count(*) FROM actorstore.supervision), (SELECT count(*) FROM actorstore.supervision_log WHERE child_id = 'b')}), '1|1', 'rights: seen by who may read');

# A type that goes while its actors are being restarted
supervise('y', 2, ", strategy => 'one_for_all'");
sql(q{SELECT actorstore.create_type('short', on_exhausted => 'escalate'), actorstore.set_handler('short', '*', 'act(jsonb, jsonb)'); SELECT actorstore.supervise('sup', 'y', 'short', 'y3', 'one_for_all');
	SELECT actorstore.pause('short')});
sql(q{SELECT actorstore.send('w', 'y1', 'do', '{"sql": "SELECT 1/0"}') \g /dev/null});
comes_true($node, 'd', q{EXISTS (SELECT FROM actorstore.message WHERE message = '$shutdown' AND actor_id = 'y3')});
sql(q{SELECT actorstore.drop_type('short')});
is(seen(), 'y1 stops, y2 stops, y1 starts, y2 starts', 'a type is dropped: the others are restarted');
sql(q{SELECT actorstore.create_type('short', max_attempts => 1, on_exhausted => 'escalate'), actorstore.set_handler('short', '*', 'act(jsonb, jsonb)');
	SELECT actorstore.supervise('short', 'boss', 'w', 'x1')});
quiet();
sql(q{SELECT actorstore.pause('short')});
crash_unseen('x1');
sql(q{SELECT actorstore.drop_type('short')});
quiet();
is(gone('x1'), 'x1 22012: division by zero', 'a supervisor of a dropped type: its child is not restarted');
is(sql(q{SELECT state FROM actorstore.halted_actor WHERE actor_id = 'x1'}), 'stopped', 'but stopped');
sub crash_unseen
{
	my ($id) = @_;
	sql(qq{SELECT actorstore.send('w', '$id', 'do', '{"sql": "SELECT 1/0"}')});
	return comes_true($node, 'd', "EXISTS (SELECT FROM actorstore.halted_actor WHERE actor_id = '$id' AND state = 'restarting')");
}

# It is a child no more by the time that it hears of the order to stop for a restart: nobody would restart it.
supervise('u', 2, q{, strategy => 'one_for_all'});
sql(q{CREATE FUNCTION hold() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM pg_advisory_xact_lock(77); RETURN NULL; END';
	CREATE CONSTRAINT TRIGGER hold AFTER UPDATE ON actorstore.supervision_step DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION hold()});
my $holder = ActorstoreTest::Session->new($node, 'd');
$holder->query('SELECT pg_advisory_lock(77)');
sql(q{SELECT actorstore.send('w', 'u1', 'do', '{"sql": "SELECT 1/0"}') \g /dev/null});
ok(comes_true($node, 'd', q{EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND NOT granted)}), 'the order is under way');
is(sql(q{SELECT actorstore.unsupervise('w', 'u2')}), 't', 'its child is a child no more');
ok(comes_true($node, 'd', q{NOT EXISTS (SELECT FROM actorstore.message WHERE actor_id = 'u2')}), 'and has heard of it');
$holder->query('SELECT pg_advisory_unlock(77)');
$holder->quit;
quiet();
sql(q{DROP TRIGGER hold ON actorstore.supervision_step});
is(gone('u'), '', 'it goes on, as does the one that is restarted');

is(sql(q{SELECT (SELECT count(*) FROM actorstore.supervision_step), (SELECT count(*) FROM actorstore.message)}), '0|0', 'nothing is left to do');

# ---- The table in the documentation ----

open(my $doc, '<', "$FindBin::RealBin/../../docs/supervision.md") or die $!;
my %told = map { /^\| ([^|]+?) \|.*\| (same|other)\b/ ? ($1 => 1) : () } <$doc>;
delete $shown{''};
is_deeply([ sort keys %shown ], [ sort grep { !/^not here/ } keys %told ], 'docs/supervision.md has these rules');

$node->stop;
done_testing();
