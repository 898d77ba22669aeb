# How actors begin, restart and end: spawn, stop, hooks, what becomes of an
# actor that could not handle a message; links, monitors, groups.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";

use ActorstoreTest;
use Test::More;

my $node = new_node('lifecycle', settings => "actorstore.workers = 2");
new_database_with_actors($node, 'd');

sub sql { my ($sql) = @_; return $node->safe_psql('d', $sql, kept => 1); }
sub wait_for { my ($condition, $what) = @_; return ok(comes_true($node, 'd', $condition, kept => 1), $what); }
sub quiet { my ($what) = @_; return wait_for(q{NOT EXISTS (SELECT FROM actorstore.message AS m WHERE NOT EXISTS (SELECT FROM actorstore.halted AS h WHERE (h.actor_type, h.actor_id) = (m.actor_type, m.actor_id) AND NOT stopped))}, $what); }
sub seen { return sql(q{WITH x AS (DELETE FROM seen RETURNING n, what) SELECT coalesce(string_agg(what, ', ' ORDER BY n), '') FROM x}); }
sub order { my ($type, $id, $body) = @_; return sql(qq{SELECT actorstore.send('$type', '$id', 'do', \$body\$$body\$body\$)}); }
sub state_of { my ($type, $id) = @_; return sql(qq{SELECT value FROM actorstore.get('$type', '$id')}); }

# An actor that does as it is told: "sql" is executed, "fail" raised, "state" taken.  Hooks say that they were called, and
# fail if the state says so.
sql(q{
CREATE FUNCTION act(state jsonb, body jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
	IF body ? 'note' THEN INSERT INTO seen (what) SELECT actor_id || ' ' || (body->>'note') FROM actorstore.context(); END IF;
	IF body ? 'sql' THEN EXECUTE body->>'sql'; END IF;
	IF body ? 'fail' THEN RAISE EXCEPTION '%', body->>'fail'; END IF;
	RETURN body->'state';
END $$;
CREATE FUNCTION hook(state jsonb, body jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
	me record := actorstore.context();
BEGIN
	INSERT INTO seen (what) VALUES (format('%s %s %s of %s', me.actor_id, me.message, body, state));
	IF state->>'fails' = me.message THEN RAISE EXCEPTION 'hook fails'; END IF;
	IF state->>'stops' = me.message THEN PERFORM actorstore.stop('by hook'); END IF;
	IF me.message = '$post_restart' AND state ? 'keeps' THEN RETURN body->'state'; END IF;
	RETURN NULL;
END $$;
SELECT actorstore.create_type(t, max_attempts => 2, backoff => '1 ms', on_exhausted => d)
FROM (VALUES ('plain', 'dead_letter'), ('hooked', 'dead_letter'), ('restart', 'restart'), ('pause', 'pause'), ('stop', 'stop'), ('escalate', 'escalate')) AS x (t, d);
SELECT actorstore.set_handler(t, '*', 'act(jsonb, jsonb)') FROM unnest(ARRAY['plain', 'hooked', 'restart', 'pause', 'stop', 'escalate']) AS t;
SELECT actorstore.set_handler(t, h, 'hook(jsonb, jsonb)') FROM unnest(ARRAY['hooked', 'restart', 'stop', 'escalate']) AS t, unnest(ARRAY['$start', '$stop', '$pre_restart', '$post_restart']) AS h;
});

# ---- spawn and stop ----

order('plain', 'maker', q{{"sql": "SELECT actorstore.spawn('hooked', 'a', '{\"n\": 1}'), actorstore.send('hooked', 'a', 'do', '{\"note\": \"hello\"}', priority => 0)"}});
quiet('spawn: done');
is(seen(), 'a $start {"reason": "spawn"} of {"n": 1}, a hello', 'spawn: $start comes first');
is(state_of('hooked', 'a'), '{"n": 1}', 'spawn: the state');
is(sql(q{SELECT message, sender_type, sender_id FROM actorstore.dead_letter}), '', 'spawn: no dead letters');
order('plain', 'maker', q{{"sql": "SELECT actorstore.spawn('hooked', 'a', '{\"n\": 2}')"}});
quiet('spawn of an existing actor: done');
is(sql(q{WITH x AS (DELETE FROM actorstore.dead_message RETURNING *) SELECT sqlstate, reason FROM x}), '23505|exhausted', 'spawn of an existing actor');
is(seen(), '', 'spawn of an existing actor: no $start');
order('plain', 'maker', q{{"sql": "SELECT actorstore.spawn('plain', 'p', '1'), actorstore.send('plain', 'p', 'do', '{\"note\": \"no hooks\"}')"}});
quiet('spawn without hooks: done');
is(seen(), 'p no hooks', 'a type without hooks and with a handler for *: it does not answer $start');

sql(q{SELECT actorstore.pause('hooked', 'a');
	SELECT actorstore.send('hooked', 'a', 'do', '{"sql": "SELECT actorstore.stop(''enough'')", "state": {"n": 3}}'), actorstore.send('hooked', 'a', 'do', '{"note": "too late"}');
	SELECT actorstore.resume('hooked', 'a')});
quiet('stop: done');
is(seen(), 'a $stop {"reason": "enough"} of {"n": 3}', 'stop: $stop, with the state of then');
is(state_of('hooked', 'a'), '{"n": 3}', 'stop: the state stays');
is(sql(q{WITH x AS (DELETE FROM actorstore.dead_message RETURNING *) SELECT reason, sqlstate, body->>'note' FROM x}), 'stopped|VA005|too late', 'stop: waiting mail is dead');
is(sql(q{SELECT actor_type, actor_id, state, reason FROM actorstore.halted_actor}), 'hooked|a|stopped|enough', 'stop: and seen');
is(sql(q{SELECT parent_id, child_id, event, reason FROM actorstore.supervision_log}), '|a|exited|enough', 'stop: logged, as the reason is not normal');
is(sql(q{SELECT actorstore.resume('hooked', 'a')}), 't', 'resume');
order('hooked', 'a', '{"note": "goes on", "sql": "SELECT actorstore.stop()"}');
quiet('resume: done');
is(seen(), 'a goes on, a $stop {"reason": "normal"} of {"n": 3}', 'resume revives a stopped actor');
is(sql(q{SELECT count(*) FROM actorstore.supervision_log}), 1, 'a normal exit is not logged');
order('plain', 'maker', q{{"sql": "SELECT actorstore.spawn('hooked', 'a', '{\"fails\": \"$stop\"}')"}});
quiet('spawn of a stopped actor: done');
is(seen(), 'a $start {"reason": "spawn"} of {"fails": "$stop"}', 'spawn of a stopped actor: it begins anew');

# A $stop that fails leaves nothing behind, and the actor stops.
order('hooked', 'a', '{"sql": "SELECT actorstore.stop()"}');
quiet('$stop fails: done');
is(seen(), '', '$stop fails: it was undone');
is(sql(q{SELECT state, reason FROM actorstore.halted_actor}), 'stopped|normal', '$stop fails: it has stopped');
is(sql(q{SELECT event, reason FROM actorstore.supervision_log WHERE event LIKE '$%'}), '$stop failed|P0001: hook fails', '$stop fails: logged');
sql(q{SELECT actorstore.purge_supervision_log(t, 'infinity') FROM unnest(ARRAY['hooked']) AS t});
is(sql(q{SELECT count(*) FROM actorstore.supervision_log}), 0, 'the log is purged');

# One that never ends is ended, too.
sql(q{SELECT actorstore.alter_type('hooked', turn_timeout => '100 ms');
	CREATE FUNCTION sleepy(state jsonb, body jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(100); RETURN NULL; END $$;
	SELECT actorstore.set_handler('hooked', '$stop', 'sleepy(jsonb, jsonb)');
	SELECT actorstore.resume('hooked', 'a')});
order('hooked', 'a', '{"sql": "SELECT actorstore.stop(\'slowly\')", "state": 5}');
quiet('$stop takes too long: done');
is(sql(q{SELECT state, reason FROM actorstore.halted_actor}) . state_of('hooked', 'a'), 'stopped|slowly5', '$stop takes too long: it has stopped');
like(sql(q{SELECT event, reason FROM actorstore.supervision_log WHERE event LIKE '$%'}), qr{^\$stop failed.57014: }, '$stop takes too long: logged');
sql(q{SELECT actorstore.set_handler('hooked', '$stop', 'hook(jsonb, jsonb)'), actorstore.resume('hooked', 'a'), actorstore.alter_type('hooked', turn_timeout => '30 s')});

# A handler that was made anew by a stranger cannot be called; the actor stops all the same.
sql(q{CREATE ROLE stranger; GRANT CREATE ON SCHEMA public TO stranger;
	CREATE FUNCTION odd(state jsonb, body jsonb) RETURNS jsonb LANGUAGE sql AS 'SELECT body';
	SELECT actorstore.set_handler('hooked', '$stop', 'odd(jsonb, jsonb)');
	DROP FUNCTION odd});
order('hooked', 'a', '{"sql": "SELECT actorstore.stop(\'oddly\')"}');
quiet('$stop is gone: done');
is(sql(q{SELECT state, reason FROM actorstore.halted_actor}), 'stopped|oddly', '$stop is gone: it has stopped');
sql(q{SELECT actorstore.set_handler('hooked', '$stop', 'hook(jsonb, jsonb)'), actorstore.purge_supervision_log('hooked', 'infinity')});
is(seen(), '', 'nothing else was called');

# ---- What becomes of an actor that could not handle a message ----

for my $type (qw(plain restart pause stop escalate))
{
	order('plain', 'maker', qq{{"sql": "SELECT actorstore.spawn('$type', 'x', '{\\"n\\": 0}')"}});
	quiet("$type: spawned");
	sql(qq{SELECT actorstore.pause('$type', 'x');
		SELECT actorstore.send('$type', 'x', 'do', b, priority => p) FROM (VALUES ('{"state": {"n": 1}, "note": "one"}'::jsonb, 4), ('{"fail": "boom"}', 4), ('{"note": "two"}', 4), ('{"note": "first"}', 0)) AS x (b, p);
		SELECT actorstore.resume('$type', 'x')});
	$type eq 'pause' ? wait_for(q{(SELECT count(*) FROM actorstore.dead_letter WHERE actor_type = 'pause') > 0}, 'pause: dead letter') : quiet("$type: done");
	is(sql(qq{SELECT message, error, reason FROM actorstore.dead_letter WHERE actor_type = '$type' AND error = 'boom'}), 'do|boom|exhausted', "$type: the message dies");
}
is(sql(q{SELECT actor_type, actor_id, state, reason FROM actorstore.halted_actor ORDER BY 1, 2}),
	"escalate|x|stopped|P0001: boom\nhooked|a|stopped|oddly\npause|x|paused|P0001: boom\nstop|x|stopped|shutdown: P0001: boom", 'who is halted');
is(sql(q{SELECT actor_type, reason, body->>'note' FROM actorstore.dead_letter WHERE error IS NULL OR error <> 'boom' ORDER BY 1}), "escalate|stopped|two\nstop|stopped|two",
	'mail of those who stop is dead, that of the others not');
is(sql(q{SELECT child_type, event, reason FROM actorstore.supervision_log}), "restart|restarted|P0001: boom\nstop|exited|shutdown: P0001: boom\nescalate|exited|P0001: boom", 'the log');
ok($node->log_contains('actor \(escalate, x\) stops, as it has no supervisor: P0001: boom'), 'who escalates to nobody is in the server log');
my %state = map { $_ => state_of($_, 'x') } qw(plain restart pause stop escalate);
is_deeply(\%state, { plain => '{"n": 1}', restart => '{"n": 0}', pause => '{"n": 1}', stop => '{"n": 1}', escalate => '{"n": 1}' }, 'the states: who restarts has that of spawn');
my $seen = seen();
like($seen, qr/x \$pre_restart \{"reason": "P0001: boom"\} of \{"n": 1\}, x \$post_restart \{"state": \{"n": 1\}, "reason": "P0001: boom"\} of \{"n": 0\}, x two/, 'hooks of a restart; the mailbox was kept');
like($seen, qr/x \$stop \{"reason": "shutdown: P0001: boom"\} of \{"n": 1\}.*x \$stop \{"reason": "P0001: boom"\} of \{"n": 1\}/, '$stop of those who stop');
is(sql(q{SELECT actorstore.resume('pause', 'x')}), 't', 'resume of who was paused');
quiet('pause: goes on');
is(seen(), 'x two', 'pause: mail was kept');

# What is to become of an actor comes before its next message, also where that cannot be done at once, and where the server begins anew meanwhile.
sql(q{
CREATE SEQUENCE refusals;
CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN IF nextval('public.refusals') = 1 THEN RAISE EXCEPTION 'not now'; END IF; RETURN NEW; END $$;
SELECT actorstore.create_type('late', max_attempts => 2, backoff => '1 s', on_exhausted => 'restart');
SELECT actorstore.set_handler('late', h, f::regprocedure) FROM (VALUES ('*', 'act(jsonb, jsonb)'), ('$pre_restart', 'hook(jsonb, jsonb)')) AS x (h, f);
CREATE TRIGGER refuse BEFORE INSERT ON actorstore.supervision_event FOR EACH ROW EXECUTE FUNCTION refuse();
SELECT actorstore.pause('late', 'x');
SELECT actorstore.send('late', 'x', 'do', b::jsonb, priority => p) FROM (VALUES ('{"fail": "boom"}', 4), ('{"note": "one"}', 4), ('{"fail": "boom"}', 4), ('{"note": "two"}', 4)) AS x (b, p);
SELECT actorstore.resume('late', 'x')});
wait_for(q{(SELECT last_value FROM refusals) = 1 AND EXISTS (SELECT FROM actorstore.message WHERE message = '$failed' AND attempts = 1)}, 'the restart has failed');
sql(q{SELECT actorstore.send('late', 'x', 'do', '{"note": "urgent"}', priority => 0)});
$node->stop('immediate');
$node->start;
quiet('the restart has been made');
is(seen(), 'x $pre_restart {"reason": "P0001: boom"} of , x urgent, x one, x $pre_restart {"reason": "P0001: boom"} of , x two', 'nothing is handled before the restart');
is(sql(q{SELECT event, count(*) FROM actorstore.supervision_log WHERE child_type = 'late' GROUP BY 1}), 'restarted|2', 'each failure has restarted the actor');
sql(q{DROP TRIGGER refuse ON actorstore.supervision_event; SELECT actorstore.purge_dead_letters('late', 'infinity'), actorstore.purge_supervision_log('late', 'infinity')});

# Restarts of actors with another past
order('restart', 'unborn', '{"state": {"n": 1}}');
order('restart', 'unborn', '{"fail": "boom"}');
quiet('never spawned: done');
is(sql(q{SELECT count(*) FROM actorstore.get('restart', 'unborn') WHERE actor_id IS NOT NULL}), 0, 'never spawned: it has no state again');
order('restart', 'unborn', '{"state": {"n": 2}}');
quiet('never spawned: goes on');
is(sql(q{SELECT value, version FROM actorstore.get('restart', 'unborn')}), '{"n": 2}|0', 'never spawned: and begins anew');
order('plain', 'maker', q{{"sql": "SELECT actorstore.spawn('restart', k, s) FROM (VALUES ('keeper', '{\"keeps\": true}'::jsonb), ('bad', '{\"fails\": \"$post_restart\"}'), ('worse', '{\"fails\": \"$pre_restart\"}'), ('stopper', '{\"stops\": \"$post_restart\"}')) AS x (k, s)"}});
quiet('spawned');
sql(q{SELECT actorstore.send('restart', k, 'do', '{"state": {"n": 7}}'), actorstore.send('restart', k, 'do', '{"fail": "boom"}') FROM unnest(ARRAY['keeper', 'bad', 'stopper']) AS k;
	SELECT actorstore.send('restart', 'worse', 'do', '{"fail": "boom"}')});
quiet('restarted');
is(state_of('restart', 'keeper'), '{"n": 7}', '$post_restart may put back the state of before');
is(sql(q{SELECT actor_id, state, reason FROM actorstore.halted_actor WHERE actor_type = 'restart' ORDER BY 1}), "bad|stopped|restart failed: P0001: hook fails\nstopper|stopped|by hook", 'who cannot begin again stops');
is(state_of('restart', 'worse'), '{"fails": "$pre_restart"}', 'a $pre_restart that fails stops nothing');
sql(q{TRUNCATE seen; SELECT actorstore.purge_dead_letters(t, 'infinity'), actorstore.purge_supervision_log(t, 'infinity') FROM (SELECT actor_type AS t FROM actorstore.type) AS x});

# ---- Monitors ----

sql(q{CREATE FUNCTION told(state jsonb, body jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
	INSERT INTO seen (what) SELECT format('%s %s %s', actor_id, message, body) FROM actorstore.context();
	IF state->>'fails' = 'told' THEN RAISE EXCEPTION 'told fails'; END IF;
	RETURN NULL;
END $$;
SELECT actorstore.create_type('watcher', max_attempts => 2, backoff => '1 ms'), actorstore.set_handler('watcher', '*', 'act(jsonb, jsonb)'), actorstore.set_handler('watcher', '$down', 'told(jsonb, jsonb)'), actorstore.set_handler('watcher', '$exit', 'told(jsonb, jsonb)')});
sub alive { my (@ids) = @_; return sql(q{SELECT actorstore.put('plain', k, '0') FROM unnest(ARRAY[} . join(', ', map { "'$_'" } @ids) . q{]) AS k}); }
alive(qw(m1 m2 m3));
order('watcher', 'w', q{{"sql": "SELECT actorstore.monitor('plain', k) FROM unnest(ARRAY['m1', 'm1', 'm2', 'm3', 'never']) AS k"}});
quiet('monitor: done');
is(seen(), 'w $down {"reason": "noproc", "actor_id": "never", "actor_type": "plain"}', 'monitor: who never existed is down');
order('plain', 'm1', q{{"sql": "SELECT actorstore.stop('tired')"}});
quiet('monitor: done');
is(seen(), 'w $down {"reason": "tired", "actor_id": "m1", "actor_type": "plain"}', 'monitor: one $down, though it was asked for twice');
order('watcher', 'w', q{{"sql": "SELECT actorstore.monitor('plain', 'm1'), actorstore.demonitor('plain', 'm2'), actorstore.demonitor('plain', 'nobody')"}});
quiet('monitor: done');
is(seen(), 'w $down {"reason": "noproc", "actor_id": "m1", "actor_type": "plain"}', 'monitor: who is stopped already is down');
order('plain', $_, q{{"sql": "SELECT actorstore.stop()"}}) foreach qw(m2 m3);
quiet('monitor: done');
is(seen(), 'w $down {"reason": "normal", "actor_id": "m3", "actor_type": "plain"}', 'monitor: a normal exit is told, too; none after demonitor');

# demonitor while $down is under way
alive('m4');
order('watcher', 'w', q{{"sql": "SELECT actorstore.monitor('plain', 'm4')"}});
quiet('monitor: done');
sql(q{SELECT actorstore.pause('watcher', 'w')});
sql(q{SELECT actorstore.send('watcher', 'w', 'do', '{"sql": "SELECT actorstore.demonitor(''plain'', ''m4'')"}', priority => 0)});
order('plain', 'm4', q{{"sql": "SELECT actorstore.stop()"}});
handled($node, 'd', 'plain');
is(sql(q{SELECT string_agg(message, ', ' ORDER BY lane, position) FROM actorstore.message}), 'do, $down', 'demonitor: it stands before $down');
sql(q{SELECT actorstore.resume('watcher', 'w')});
quiet('demonitor: done');
is(seen(), '', 'demonitor: nothing comes that is under way');

# A handler of $down that fails is called again; given up, the message is a dead letter, and comes no more.
sql(q{SELECT actorstore.put('watcher', 'bad', '{"fails": "told"}')});
alive('m5');
order('watcher', 'bad', q{{"sql": "SELECT actorstore.monitor('plain', 'm5')"}});
quiet('monitor: done');
order('plain', 'm5', q{{"sql": "SELECT actorstore.stop()"}});
quiet('$down fails: done');
is(sql(q{SELECT message, attempts, body->>'actor_id' FROM actorstore.dead_letter}), '$down|2|m5', '$down fails: a dead letter');
is(sql(q{SELECT count(*) FROM actorstore.monitor}), 0, '$down fails: the monitor is gone');
sql(q{SELECT actorstore.purge_dead_letters('watcher', 'infinity')});

# ---- Links ----

my $link = sub { my ($from_type, $from, $to_type, $to) = @_; order($from_type, $from, qq{{"sql": "SELECT actorstore.link('$to_type', '$to')"}}); quiet('link: done'); };
alive(qw(l1 l2 l3 l4 l5));
$link->('plain', 'l1', 'plain', 'l2');
$link->('plain', 'l2', 'plain', 'l3');
$link->('plain', 'l3', 'plain', 'l3');
$link->('watcher', 't', 'plain', 'l3');
$link->('plain', 'l1', 'plain', 'l2');
is(sql(q{SELECT actor_id, peer_id FROM actorstore.link ORDER BY 1, 2}), "l1|l2\nl2|l1\nl2|l3\nl3|l2\nl3|t\nt|l3", 'link: from both sides, once');
order('plain', 'l1', q{{"sql": "SELECT actorstore.stop('broken')"}});
quiet('link: done');
is(seen(), 't $exit {"reason": "broken", "actor_id": "l3", "actor_type": "plain"}', 'link: the exit goes along the links; a handler of $exit traps it');
is(sql(q{SELECT actor_id, reason FROM actorstore.halted_actor WHERE actor_id ~ '^(l|t)' ORDER BY 1}), "l1|broken\nl2|broken\nl3|broken", 'link: with the same reason');
is(sql(q{SELECT count(*) FROM actorstore.link}), 0, 'link: none is left');
$link->('plain', 'l4', 'plain', 'l5');
order('plain', 'l4', q{{"sql": "SELECT actorstore.stop()"}});
quiet('link: done');
is(sql(q{SELECT count(*) FROM actorstore.halted_actor WHERE actor_id = 'l5'}), 0, 'link: a normal exit takes nobody along');
$link->('watcher', 't', 'plain', 'l4');
$link->('plain', 'l5', 'plain', 'nobody');
is(seen(), 't $exit {"reason": "noproc", "actor_id": "l4", "actor_type": "plain"}', 'link to who is stopped: noproc');
is(sql(q{SELECT state, reason FROM actorstore.halted_actor WHERE actor_id = 'l5'}), 'stopped|noproc', 'link to nobody: noproc, not trapped');
alive(qw(u1 u2));
$link->('plain', 'u1', 'plain', 'u2');
order('plain', 'u2', q{{"sql": "SELECT actorstore.unlink('plain', 'u1'), actorstore.unlink('plain', 'nobody')"}});
quiet('unlink: done');
order('plain', 'u1', q{{"sql": "SELECT actorstore.stop('broken')"}});
quiet('unlink: done');
is(sql(q{SELECT (SELECT count(*) FROM actorstore.halted_actor WHERE actor_id = 'u2'), (SELECT count(*) FROM actorstore.link)}), '0|0', 'unlink');

# Both undo a link at once, and one makes it anew before it hears of the other's: it has both sides or none.
alive(qw(v1 v2));
$link->('plain', 'v1', 'plain', 'v2');
my @pair = map { ActorstoreTest::Session->new($node, 'd') } 1 .. 2;
my $do = sub { my ($id, $verb, $to) = @_; return qq{SELECT actorstore.call('plain', '$id', 'do', '{"sql": "SELECT actorstore.$verb(''plain'', ''$to'')"}')}; };
$_->query('BEGIN') foreach @pair;
$pair[0]->query($do->('v2', 'unlink', 'v1'));
$pair[1]->query($do->('v1', $_, 'v2')) foreach qw(unlink link);
$_->query('COMMIT') foreach @pair;
quiet('unlink and link: done');
is(sql(q{SELECT actor_id, peer_id FROM actorstore.link ORDER BY 1, 2}), "v1|v2\nv2|v1", 'unlink and link: from both sides');
order('plain', 'v2', q{{"sql": "SELECT actorstore.unlink('plain', 'v1')"}});
quiet('unlink: done');
is(sql(q{SELECT count(*) FROM actorstore.link}), 0, 'unlink from the other side: none is left');

# Both make a link at once: whoever is asked to undo it does, and of an exit the other hears once.
$_->query('BEGIN') foreach @pair;
$pair[0]->query($do->('v1', 'link', 'v2'));
$pair[1]->query($do->('v2', 'link', 'v1'));
$_->query('COMMIT') foreach @pair;
quiet('link at once: done');
order('plain', 'v1', q{{"sql": "SELECT actorstore.unlink('plain', 'v2')"}});
quiet('unlink: done');
is(sql(q{SELECT count(*) FROM actorstore.link}), 0, 'link at once: undone as one');
$_->query('BEGIN') foreach @pair;
$pair[0]->query($do->('v1', 'link', 'v2') =~ s/link\(''plain'', ''v2''/link(''watcher'', ''t''/r);
$pair[1]->query(q{SELECT actorstore.call('watcher', 't', 'do', '{"sql": "SELECT actorstore.link(''plain'', ''v1'')"}')});
$_->query('COMMIT') foreach @pair;
quiet('link at once: done');
seen();
order('plain', 'v1', q{{"sql": "SELECT actorstore.stop('broken')"}});
quiet('link at once: exit');
is(seen(), 't $exit {"reason": "broken", "actor_id": "v1", "actor_type": "plain"}', 'link at once: the exit is told once');
is(sql(q{SELECT count(*) FROM actorstore.link}), 0, 'link at once: none is left');

# ---- ask and call ----

alive(qw(k1 k2 k3));
$link->('watcher', 't', 'plain', 'k1');
is(sqlstate($node, 'd', q{SELECT actorstore.ask('plain', 'k1', 'do', '{"sql": "SELECT actorstore.stop(''asked''), actorstore.reply(''5'')"}')}), '00000', 'ask: stops it');
quiet('ask: done');
is(seen(), 't $exit {"reason": "asked", "actor_id": "k1", "actor_type": "plain"}', 'ask: its exit is told');
is(sqlstate($node, 'd', qq{SELECT actorstore.$_('plain', 'k1', 'do', '{}')}), 'VA005', "$_: of who has exited") foreach qw(ask call);
$link->('watcher', 't', 'plain', 'k2');
is(sql(q{BEGIN; SELECT actorstore.call('plain', 'k2', 'do', '{"sql": "SELECT actorstore.stop(''called''), actorstore.reply(''6''), actorstore.monitor(''plain'', ''k3'')"}'); ROLLBACK}), '6', 'call: rolled back');
quiet('call: rolled back');
is(seen() . sql(q{SELECT count(*) FROM actorstore.halted_actor WHERE actor_id = 'k2'}), '0', 'call: rolled back, it has not exited');
is(sql(q{SELECT actorstore.call('plain', 'k2', 'do', '{"sql": "SELECT actorstore.stop(''called''), actorstore.reply(''6'')"}')}), '6', 'call: its reply');
quiet('call: done');
is(seen(), 't $exit {"reason": "called", "actor_id": "k2", "actor_type": "plain"}', 'call: its exit is told');
sql(q{SELECT actorstore.call('watcher', 't', 'do', '{"sql": "SELECT actorstore.monitor(''plain'', ''k3''), actorstore.link(''plain'', ''k3''), actorstore.spawn(''hooked'', ''called'', ''1'')"}')});
quiet('call: monitor, link, spawn');
is(seen(), 'called $start {"reason": "spawn"} of 1', 'call: spawn');
is(sql(q{SELECT (SELECT count(*) FROM actorstore.monitor WHERE peer_id = 'k3'), (SELECT count(*) FROM actorstore.link WHERE 'k3' IN (actor_id, peer_id))}), '1|2', 'call: monitor and link');

# Hooks called within a call run as the owner of the type, and are undone alone if they fail.
sql(q{CREATE ROLE caller; GRANT USAGE ON SCHEMA public TO caller; SELECT actorstore.grant_type('hooked', 'caller', '{ask}');
	CREATE FUNCTION who(state jsonb, body jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$ BEGIN INSERT INTO seen (what) VALUES (format('%s as %s', body->>'reason', CASE WHEN current_user = 'caller' THEN 'caller' ELSE 'owner' END)); IF state = '"fails"' THEN RAISE EXCEPTION 'hook fails'; END IF; RETURN '"stopped"'; END $$;
	SELECT actorstore.set_handler('hooked', '$stop', 'who(jsonb, jsonb)'), actorstore.put('hooked', 'h1', '1'), actorstore.put('hooked', 'h2', '"fails"')});
is(sql(qq{SET ROLE caller; SET search_path = pg_catalog; SELECT actorstore.call('hooked', '$_', 'do', '{"sql": "SELECT actorstore.stop(''called'')"}'); SELECT current_user, current_setting('search_path')}) =~ s/.*\n//r, 'caller|pg_catalog', "call: user and path are as before ($_)") foreach qw(h1 h2);
is(seen(), 'called as owner', 'call: $stop runs as the owner; one that failed was undone');
is(sql(q{SELECT string_agg(value::text, ' ' ORDER BY actor_id), (SELECT count(*) FROM actorstore.halted_actor WHERE actor_id ~ '^h[12]$') FROM actorstore.actor_hooked WHERE actor_id ~ '^h[12]$'}), '"stopped" "fails"|2', 'call: the states; both have exited');

# Nobody cancels what the system says.
sql(q{SELECT actorstore.pause('watcher', 't')});
order('plain', 'k3', q{{"sql": "SELECT actorstore.stop('broken')"}});
comes_true($node, 'd', q{(SELECT count(*) FROM actorstore.message WHERE actor_id = 't') = 2});
is(sqlstate($node, 'd', q{SELECT actorstore.cancel(message_id) FROM actorstore.mailbox WHERE actor_id = 't'}), '42501', 'cancel: not what the system says');
sql(q{SELECT actorstore.resume('watcher', 't')});
quiet('cancel: done');
is(join(', ', sort split /, (?=t)/, seen()), 't $down {"reason": "broken", "actor_id": "k3", "actor_type": "plain"}, t $exit {"reason": "broken", "actor_id": "k3", "actor_type": "plain"}', 'both are told');

# What a handler did before it failed has not been done.
alive('r1');
order('plain', 'r1', q{{"sql": "SELECT actorstore.link('watcher', 't'), actorstore.monitor('watcher', 't'), actorstore.stop('never'), actorstore.join_group('g', 'plain', 'r1')", "fail": "no"}});
quiet('rolled back: done');
is(sql(q{SELECT (SELECT count(*) FROM actorstore.link), (SELECT count(*) FROM actorstore.monitor), (SELECT count(*) FROM actorstore.group_members), (SELECT count(*) FROM actorstore.halted_actor WHERE actor_id = 'r1')}), '0|0|0|0', 'rolled back: nothing is left');

# A type that is dropped
sql(q{SELECT actorstore.create_type('gone'), actorstore.set_handler('gone', '*', 'act(jsonb, jsonb)'); SELECT actorstore.put('gone', 'g1', '0'), actorstore.put('gone', 'g2', '0')});
$link->('watcher', 't', 'gone', 'g1');
order('watcher', 't', q{{"sql": "SELECT actorstore.monitor('gone', 'g2'), actorstore.join_group('g', 'gone', 'g2')"}});
quiet('a type is dropped: done');
sql(q{TRUNCATE seen; SELECT actorstore.drop_type('gone')});
quiet('a type is dropped: done');
is(sql(q{SELECT string_agg(what, ', ' ORDER BY what) FROM seen}), 't $down {"reason": "noproc", "actor_id": "g2", "actor_type": "gone"}, t $exit {"reason": "noproc", "actor_id": "g1", "actor_type": "gone"}', 'a type is dropped: its actors are gone');
is(sql(q{SELECT (SELECT count(*) FROM actorstore.link), (SELECT count(*) FROM actorstore.monitor), (SELECT count(*) FROM actorstore.group_member)}), '0|0|0', 'a type is dropped: nothing is left');
seen();

# It goes while what its actors said is under way: the other has mail that it has not handled.
sql(q{SELECT actorstore.create_type('gone'), actorstore.set_handler('gone', '*', 'act(jsonb, jsonb)'); SELECT actorstore.put('gone', 'g1', '0')});
$pair[0]->query(q{BEGIN; SELECT actorstore.call('watcher', 't', 'do', '{"state": 1}')});
sql(q{SELECT actorstore.call('gone', 'g1', 'do', '{"sql": "SELECT actorstore.link(''watcher'', ''t'')"}')});
sql(q{SELECT actorstore.drop_type('gone')});
is(sql(q{SELECT string_agg(message, ' ' ORDER BY message_id) FROM actorstore.message WHERE actor_type = 'watcher'}), '$link $exit', 'a type is dropped: under way');
$pair[0]->query('COMMIT');
quiet('a type is dropped: done');
is(seen(), 't $exit {"reason": "noproc", "actor_id": "g1", "actor_type": "gone"}', 'a type is dropped: who was being linked is told');
is(sql(q{SELECT count(*) FROM actorstore.link}), 0, 'a type is dropped: no half of a link is left');
$_->quit foreach @pair;

# ---- Groups ----

alive(qw(g1 g2 g3));
is(sql(q{SELECT actorstore.join_group('choir', 'plain', k) FROM unnest(ARRAY['g3', 'g1', 'g2', 'g1']) AS k}), "t\nt\nt\nf", 'join_group');
is(sql(q{SELECT actorstore.join_group('choir', 'watcher', 'w')}), 't', 'join_group: of another type');
is(sql(q{SELECT actorstore.broadcast('choir', 'do', '{"note": "la"}'), actorstore.broadcast('nobody', 'do')}), '4|0', 'broadcast: how many');
quiet('broadcast: done');
is(join(', ', sort split /, /, seen()), 'g1 la, g2 la, g3 la, w la', 'broadcast');
is(sql(q{SELECT actorstore.leave_group('choir', 'plain', 'g2'), actorstore.leave_group('choir', 'plain', 'g2')}), 't|f', 'leave_group');
order('plain', 'g3', q{{"sql": "SELECT actorstore.stop()"}});
quiet('stop: done');
is(sql(q{SELECT group_name, actor_type, actor_id FROM actorstore.group_members}), "choir|plain|g1\nchoir|watcher|w", 'who stops leaves its groups');
is(sqlstate($node, 'd', q{SELECT actorstore.join_group('choir', 'plain', 'g3')}), 'VA005', 'who is stopped joins none');
is(sqlstate($node, 'd', q{BEGIN; SELECT actorstore.broadcast('choir', 'do', '{"note": "never"}'); SELECT 1/0}), '22012', 'broadcast: rolled back');
quiet('broadcast: rolled back');
is(seen(), '', 'broadcast: nothing was sent');

# Rights
sql(q{CREATE ROLE alice; CREATE ROLE bob; GRANT CREATE ON DATABASE d TO alice, bob; GRANT ALL ON seen TO alice, bob;
	SET ROLE bob; SELECT actorstore.create_type('bobs', max_attempts => 1), actorstore.set_handler('bobs', '*', 'act(jsonb, jsonb)'), actorstore.grant_type('bobs', 'alice', '{write, send}');
	RESET ROLE; SELECT actorstore.set_handler('bobs', '*', 'act(jsonb, jsonb)');
	SET ROLE alice; SELECT actorstore.create_type('alices'), actorstore.grant_type('alices', 'bob', '{send}')});
sub as { my ($role, $sql) = @_; return sqlstate($node, 'd', "SET ROLE $role; $sql"); }
is(as('alice', q{SELECT actorstore.join_group('hers', 'alices', 'x')}), '00000', 'rights: a group of ones own');
is(as('bob', q{SELECT actorstore.join_group('hers', 'bobs', 'x')}), '42501', 'rights: nobody else puts actors there');
is(as('bob', q{SELECT actorstore.join_group('his', 'alices', 'x')}), '42501', 'rights: nor mine elsewhere');
is(as('alice', q{SELECT actorstore.join_group('hers', 'bobs', 'x')}), '00000', 'rights: who may write to it does');
is(as('alice', q{SELECT actorstore.broadcast('hers', 'do')}), '00000', 'rights: and sends');
is(as('bob', q{SELECT actorstore.leave_group('hers', 'alices', 'x')}), '42501', 'rights: others are not let out');
is(as('bob', q{SELECT actorstore.leave_group('hers', 'bobs', 'x')}), '00000', 'rights: ones own is');
is(as('stranger', q{SELECT actorstore.broadcast('hers', 'do')}), '42501', 'rights: who may not send may not broadcast');
is(as('bob', q{SELECT actorstore.broadcast('hers', 'do')}), '00000', 'rights: who may send may');
is(as('stranger', q{SELECT count(*) FROM actorstore.group_members}), '00000', 'rights: the view is for all');
is(sql(q{SET ROLE stranger; SELECT (SELECT count(*) FROM actorstore.group_members), (SELECT count(*) FROM actorstore.halted_actor), (SELECT count(*) FROM actorstore.supervision_log)}), '0|0|0', 'rights: it shows only what one may read');
quiet('rights: done');
is(sql(q{SELECT actorstore.send('bobs', 'b', 'do', jsonb_build_object('sql', format('SELECT actorstore.%s(''alices'', ''x'')', f))) FROM unnest(ARRAY['link', 'unlink', 'monitor', 'demonitor']) AS f}) =~ tr/\n//, 3, 'rights: sent');
quiet('rights: done');
is(sql(q{SELECT DISTINCT sqlstate, count(*) FROM actorstore.dead_letter WHERE actor_type = 'bobs' AND message = 'do' AND sender_type IS NULL AND sqlstate = '42501' GROUP BY 1}), '42501|4', 'rights: write to link, read to monitor');

# Outside of a handler, and bad input
for my $call (q{link('plain', 'x')}, q{unlink('plain', 'x')}, q{monitor('plain', 'x')}, q{demonitor('plain', 'x')}, q{spawn('plain', 'x', '1')}, q{stop()})
{
	is(sqlstate($node, 'd', "SELECT actorstore.$call"), '55000', "outside of a handler: $call");
}
my %bad = (
	q{join_group('', 'plain', 'x')} => '22023', q{join_group(NULL, 'plain', 'x')} => '22023', q{join_group('g', 'plain', '')} => '22023', q{join_group('g', 'unknown', 'x')} => '42704',
	q{join_group(repeat('x', 513), 'plain', 'x')} => '22023', q{leave_group('g', 'unknown', 'x')} => '42704', q{broadcast('choir', '$exit')} => '22023', q{broadcast('choir', NULL)} => '22023',
	q{broadcast(NULL, 'do')} => '22023', q{purge_supervision_log('unknown', now())} => '42704', q{purge_supervision_log('plain', NULL)} => '22004');
is(sqlstate($node, 'd', "SELECT actorstore.$_"), $bad{$_}, "bad input: $_") foreach sort keys %bad;

# ---- What the system says is not bound by what messages may be; but reasons are cut ----

sql(q{
CREATE FUNCTION heard(state jsonb, body jsonb) RETURNS jsonb LANGUAGE sql AS $$
	INSERT INTO seen (what) VALUES (format('%s: %s of %s', left(body->>'actor_id', 4), left(body->>'reason', 18), length(body->>'reason'))); SELECT NULL::jsonb $$;
SELECT actorstore.create_type(t, max_attempts => 1, on_exhausted => 'stop'), actorstore.set_handler(t, '*', 'act(jsonb, jsonb)') FROM unnest(ARRAY['watch', repeat('t', 512)]) AS t;
SELECT actorstore.set_handler('watch', '$down', 'heard(jsonb, jsonb)');
SELECT actorstore.insert_many(repeat('t', 512), ARRAY['errs', 'says', repeat('long', 128)], array_fill('1'::jsonb, '{3}'));
TRUNCATE seen});
ok(set_everywhere($node, 'd', 'actorstore.max_message_size', '1kB'), 'small messages only');
order('watch', 'w', qq{{"sql": "SELECT actorstore.monitor(repeat('t', 512), id) FROM unnest(ARRAY['errs', 'says', repeat('long', 128)]) AS id"}});
quiet('long reasons: watched');
sql(qq{SELECT actorstore.send(repeat('t', 512), id, 'do', jsonb_build_object('sql', \$s\$$_->[1]\$s\$)) FROM unnest(ARRAY[$_->[0]]) AS id})
  foreach [ q{'errs'}, q{DO $x$ BEGIN RAISE EXCEPTION '%', repeat('ä', 1000000); END $x$} ], [ q{'says'}, q{SELECT actorstore.stop(repeat('ä', 1000000))} ], [ q{repeat('long', 128)}, q{SELECT actorstore.stop('x')} ];
quiet('long reasons: done');
is(sql(q{SELECT string_agg(what, ', ' ORDER BY what) FROM seen}), 'errs: shutdown: P0001: ä of 2056, long: x of 1, says: ' . 'ä' x 18 . ' of 2048', 'long reasons: all are told');
is(sql(q{SELECT string_agg(left(actor_id, 4) || ' ' || octet_length(reason), ', ' ORDER BY actor_id) FROM actorstore.halted_actor WHERE actor_type = repeat('t', 512)}), 'errs 4095, long 1, says 4096', 'long reasons: all have exited');

$node->stop;
done_testing();
