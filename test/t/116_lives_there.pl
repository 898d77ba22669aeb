# Links, monitors and spawn() between actors of different nodes: what each is told, and
# that no half of a link or monitor stays, whoever dies on the way.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";

use ActorstoreTest;
use PostgreSQL::Test::Utils;
use Test::More;

my @nodes = new_cluster('one', 'two', { faults => 1, settings => "actorstore.resolver_interval = 100ms\nmax_worker_processes = 16\nactorstore.peer_timeout = 60s\nactorstore.workers = 2" });
my ($one, $two) = @nodes;
$_->safe_psql('d', q{
	CREATE FUNCTION act(state jsonb, body jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
	DECLARE
		me record := actorstore.context();
		kind text := coalesce(body ->> 'type', 'plain');
		id text := body ->> 'id';
	BEGIN
		CASE me.message
			WHEN 'make' THEN RETURN '[]';
			WHEN 'link' THEN PERFORM actorstore.link(kind, id);
			WHEN 'unlink' THEN PERFORM actorstore.unlink(kind, id);
			WHEN 'monitor' THEN PERFORM actorstore.monitor(kind, id);
			WHEN 'demonitor' THEN PERFORM actorstore.demonitor(kind, id);
			WHEN 'both' THEN PERFORM actorstore.link(kind, id), actorstore.unlink(kind, id), actorstore.monitor(kind, id), actorstore.demonitor(kind, id), actorstore.link(kind, id), actorstore.monitor(kind, id);
			WHEN 'stop' THEN PERFORM actorstore.stop(body ->> 'reason');
			WHEN 'spawn' THEN PERFORM actorstore.spawn(kind, id, '["spawned"]'), actorstore.send(kind, id, 'note', '"hello"');
			WHEN 'spawn and fail' THEN PERFORM actorstore.spawn(kind, id, '["spawned"]'); RAISE 'failed';
			WHEN 'note' THEN RETURN state || body;
			WHEN '$start' THEN RETURN state || to_jsonb(concat_ws(' ', me.message, body ->> 'reason', me.sender_type, me.sender_id));
			ELSE RETURN coalesce(state, '[]') || to_jsonb(concat_ws(' ', me.message, body ->> 'actor_type', body ->> 'actor_id', body ->> 'reason'));
		END CASE;
		RETURN NULL;
	END $$;
	CREATE ROLE alice LOGIN}) foreach @nodes;
$one->safe_psql('d', q{
	SELECT actorstore.create_type(t, max_attempts => 1), actorstore.set_handler(t, '*', 'act(jsonb, jsonb)') FROM unnest(ARRAY['plain', 'trap', 'doomed']) AS t;
	SELECT actorstore.set_handler('trap', h, 'act(jsonb, jsonb)') FROM unnest(ARRAY['$exit', '$down', '$start']) AS h;
	SELECT actorstore.set_handler('plain', '$down', 'act(jsonb, jsonb)')});

# Ids by type and node that they live on.
my %of;
foreach (rows($one, 'd', q{SELECT t, actorstore.locate(t, 'a' || i), 'a' || i FROM unnest(ARRAY['plain', 'trap', 'doomed']) AS t, generate_series(1, 400) AS i}))
{
	my ($type, $node, $id) = split /\|/;
	push @{ $of{"$type $node"} }, $id;
}
sub new_at { my ($type, $node) = @_; my $id = shift @{ $of{"$type $node"} }; $one->safe_psql('d', "SELECT actorstore.send('$type', '$id', 'make')"); return $id; }
sub say_to { my ($type, $id, $message, $body) = @_; $one->safe_psql('d', "SELECT actorstore.send('$type', '$id', '$message', '$body')"); return; }
sub other { my ($type, $id) = @_; return qq({"type": "$type", "id": "$id"}); }
sub quiet { my ($node) = @_; return comes_true($node, 'd', q{NOT EXISTS (SELECT FROM actorstore.outbox) AND NOT EXISTS (SELECT FROM actorstore.message) AND (SELECT coalesce(sum(on_their_way), 0) = 0 FROM actorstore.stat_outbox)}, kept => 1); }

# Nothing is under way: as what one has handled may have sent to the other, that must be so of both in one look.
sub settle
{
	my $count = '';
	for (1 .. 100)
	{
		quiet($_) || return ok(0, 'nothing is under way') foreach @nodes;
		my $now = join ' ', map { $_->safe_psql('d', q{SELECT sum(forwarded), (SELECT last_value FROM actorstore.message_number) FROM actorstore.stat_outbox}, kept => 1) } @nodes;
		return 1 if $now eq $count;
		$count = $now;
	}
	return ok(0, 'it comes to an end');
}
sub sorted_state_of { my ($type, $id) = @_; return $one->safe_psql('d', "SELECT jsonb_agg(v ORDER BY v COLLATE \"C\") FROM jsonb_array_elements_text((actorstore.get('$type', '$id')).value) AS v"); }
sub state_of { my ($type, $id) = @_; return $one->safe_psql('d', "SELECT value FROM actorstore.get('$type', '$id')"); }
sub halts { return join ', ', sort map { rows($_, 'd', q{SELECT concat_ws(' ', actor_type, actor_id, state, reason) FROM actorstore.halted_actor}, kept => 1) } @nodes; }
sub links { return join ', ', map { my $node = $_; map { $node->name . ": $_" } rows($node, 'd', q{SELECT concat_ws(' ', actor_type, actor_id, peer_type, peer_id) FROM actorstore.link ORDER BY 1}, kept => 1) } @nodes; }
sub count { my ($what) = @_; return join ' ', map { $_->safe_psql('d', "SELECT count(*) FROM actorstore.$what", kept => 1) } @nodes; }
sub halves
{
	my (%left, %right);
	foreach my $node (@nodes)
	{
		$left{$_}++ foreach rows($node, 'd', q{SELECT concat_ws(' ', 'link', number, actor_type, actor_id, peer_type, peer_id) FROM actorstore.link UNION ALL SELECT concat_ws(' ', 'monitor', number, actor_type, actor_id, peer_type, peer_id) FROM actorstore.monitor});
		$right{$_}++ foreach rows($node, 'd', q{SELECT concat_ws(' ', 'link', number, peer_type, peer_id, actor_type, actor_id) FROM actorstore.link UNION ALL SELECT concat_ws(' ', 'monitor', number, watcher_type, watcher_id, actor_type, actor_id) FROM actorstore.watcher});
	}
	return join ', ', sort grep { ($left{$_} // 0) != ($right{$_} // 0) } keys %{ { %left, %right } };
}
sub fault { my ($node, $fault) = @_; $node->safe_psql('postgres', "ALTER SYSTEM SET actorstore.fault = '$fault'"); $node->reload; $node->poll_query_until('postgres', "SELECT current_setting('actorstore.fault') = '$fault'"); return; }

# An exit takes along who is linked to it on another node, with its reason.
my ($a, $b, $c) = (new_at('plain', 'one'), new_at('plain', 'two'), new_at('trap', 'one'));
settle();
say_to('plain', $a, 'link', other('plain', $b)) foreach 1 .. 2;
say_to('plain', $b, 'link', other('trap', $c));
settle();
is(links(), "one: plain $a plain $b, one: trap $c plain $b, two: plain $b plain $a, two: plain $b trap $c", 'links have two halves, each where its actor lives');
say_to('plain', $a, 'stop', '{"reason": "boom"}');
settle();
is(halts(), join(', ', sort map { "plain $_ stopped boom" } $a, $b), 'who exits takes along who is linked to it there');
is(state_of('trap', $c), qq(["\$exit plain $b boom"]), 'and so on, but not who traps exits');
is(links(), '', 'no half is left');

# Unlinked, both ways; normal exits; nobody.
my $first = $b;
($a, $b) = (new_at('plain', 'one'), new_at('plain', 'two'));
my $nobody = shift @{ $of{'plain two'} };
settle();
say_to('plain', $b, 'link', other('plain', $a));
settle();
say_to('plain', $a, 'unlink', other('plain', $b));
settle();
is(links(), '', 'unlinked from the other side');
say_to('plain', $a, 'link', other('plain', $b));
say_to('plain', $b, 'link', other('plain', $a));
settle();
say_to('plain', $a, 'stop', '{"reason": "normal"}');
settle();
is(links(), '', 'a normal exit ends links');
unlike(halts(), qr/plain $b /, 'and takes nobody along');
say_to('trap', $c, 'link', other('plain', $nobody));
say_to('trap', $c, 'link', other('plain', $a));
say_to('trap', $c, 'monitor', other('plain', $nobody));
settle();
is(sorted_state_of('trap', $c), '[' . join(', ', map { qq("$_") } sort "\$exit plain $first boom", "\$exit plain $nobody noproc", "\$exit plain $a noproc", "\$down plain $nobody noproc") . ']', 'who is not there, or has exited, says noproc');
is(links(), '', 'and is linked to nobody');

# Monitors: one message; none afterwards.
my ($watcher, $target) = (new_at('trap', 'two'), new_at('plain', 'one'));
settle();
say_to('trap', $watcher, 'monitor', other('plain', $target)) foreach 1 .. 2;
settle();
is(count('monitor') . ' ' . count('watcher'), '0 1 1 0', 'both sides know of a monitor');
say_to('trap', $watcher, 'demonitor', other('plain', $target));
settle();
is(count('monitor') . ' ' . count('watcher'), '0 0 0 0', 'and of its end');
say_to('trap', $watcher, 'monitor', other('plain', $target));
say_to('trap', $watcher, 'monitor', other('plain', $b));
settle();
is(count('monitor') . ' ' . count('watcher'), '0 2 1 1', 'in a node that is so of each monitor');
say_to('plain', $target, 'stop', '{"reason": "why not"}');
settle();
is(state_of('trap', $watcher), qq(["\$down plain $target why not"]), 'the watcher is told why, once');
say_to('plain', $b, 'monitor', other('trap', $c));
settle();
is(count('monitor') . ' ' . count('watcher'), '0 2 1 1', 'one more');
say_to('plain', $b, 'stop', '{"reason": "normal"}');
settle();
is(count('monitor') . ' ' . count('watcher'), '0 0 0 0', 'who exits wants to know no more');

# A database with monitors becomes a node.
new_database_with_actors($one, 'e');
$one->safe_psql('e', q{
	CREATE FUNCTION watch(state jsonb, body jsonb) RETURNS jsonb LANGUAGE sql RETURN CASE WHEN body IS NULL THEN '[]' ELSE (SELECT '["watches"]'::jsonb FROM (SELECT actorstore.monitor('w', body ->> 0)) AS m) END;
	SELECT actorstore.create_type('w'), actorstore.set_handler('w', '*', 'watch(jsonb, jsonb)'), actorstore.insert('w', 'x', '1'), actorstore.send('w', 'y', 'm', '["x"]')});
ok(comes_true($one, 'e', q{EXISTS (SELECT FROM actorstore.monitor) AND NOT EXISTS (SELECT FROM actorstore.message)}), 'a monitor');
is($one->safe_psql('e', q{SELECT count(*) FROM actorstore.watcher; SELECT actorstore.init_node('e'); SELECT actor_type, actor_id, watcher_type, watcher_id, number = (SELECT number FROM actorstore.monitor) FROM actorstore.watcher}), "0\n\nw|x|w|y|t", 'gets its second row');

# spawn()
my $parent = new_at('trap', 'one');
my $child = shift @{ $of{'trap two'} };
say_to('trap', $parent, 'spawn', other('trap', $child));
settle();
is(state_of('trap', $child), qq(["spawned", "\$start spawn trap $parent", "hello"]), 'spawned on the other node; what is sent then finds it there');
say_to('trap', $parent, 'spawn', other('trap', $child));
settle();
is($one->safe_psql('d', q{SELECT sqlstate, message FROM actorstore.dead_message}), '23505|spawn', 'the address is taken');
say_to('trap', $child, 'stop', '{"reason": "normal"}');
settle();
say_to('trap', $parent, 'spawn', other('trap', $child));
settle();
is(state_of('trap', $child), qq(["spawned", "\$start spawn trap $parent", "hello"]), 'a stopped one begins anew');
my $unborn = shift @{ $of{'trap two'} };
say_to('trap', $parent, 'spawn and fail', other('trap', $unborn));
settle();
is(state_of('trap', $unborn), '', 'not spawned by a turn that failed');
is($two->safe_psql('d', q{SELECT count(*) FROM pg_prepared_xacts}), 0, 'nothing is left of it');
is(sqlstate($two, 'd', "SELECT actorstore.local_spawn('alice', 1, 'trap', 'x', '1')", extra_params => [ '-U', 'alice', '-v', 'VERBOSITY=sqlstate' ]), '42501', 'nobody else may spawn for others');

# A type goes while a link and a monitor for its actors are under way, and while there are some.
my ($doomed, $gone) = (new_at('doomed', 'two'), new_at('doomed', 'two'));
my $survivor = new_at('trap', 'one');
settle();
say_to('trap', $survivor, 'both', other('doomed', $doomed));
settle();
is(count('link') . ' ' . count('monitor') . ' ' . count('watcher'), '1 1 1 0 0 1', 'undone and done again in one turn, it stands');
fault($one, 'forward_made:wait');
say_to('trap', $survivor, 'both', other('doomed', $gone));
reached($one, 'forward_made');
fault($one, '');
$one->safe_psql('d', q{SELECT actorstore.drop_type('doomed')});
release($one, 'forward_made');
settle();
is(sorted_state_of('trap', $survivor), '[' . join(', ', map { qq("$_") } sort map { ("\$down doomed $_ noproc", "\$exit doomed $_ noproc") } $doomed, $gone) . ']', 'the survivor is told of all');
is(count('link') . ' ' . count('monitor') . ' ' . count('watcher'), '0 0 0 0 0 0', 'nothing is left');

# What another node says is looked at; half a link that comes too late goes again.
sub crc32c
{
	my $crc = 0xFFFFFFFF;
	foreach my $byte (unpack 'C*', $_[0])
	{
		$crc ^= $byte;
		$crc = ($crc >> 1) ^ (0x82F63B78 * ($crc & 1)) foreach 1 .. 8;
	}
	return $crc ^ 0xFFFFFFFF;
}
my $batch = 0;
# From the actor that its body names, or another one.
sub letter { my ($type, $id, $name, $body, $headers, $priority, $kind, $due) = @_; return letter_from([ ($body // '') =~ /"actor_type": "([^"]+)", "actor_id": "([^"]+)"/ ], $type, $id, $name, $body, $headers, $priority, $kind, $due); }
sub letter_from { my ($sender, $type, $id, $name, $body, $headers, $priority, $kind, $due) = @_; return pack('q<4CC', ++$batch * 10000, 1, $due // 0, 0, $priority // 0, $kind // 0) . join('', map { defined $_ ? pack('V/a*', $_) : pack('V', 0xFFFFFFFF) } $type, $id, $name, $body, $headers, @$sender == 2 && length($sender->[1] // q{}) <= 512 ? @$sender : (undef, undef), undef); }
sub deliver_all
{
	my $letters = join '', @_;
	my $head = pack('a4CCvVVV', 'ASME', 1, 0, 0, scalar @_, length $letters, length $letters);
	my $hex = unpack 'H*', $head . pack('V', crc32c($head . $letters)) . $letters;
	return sqlstate($two, 'd', "SELECT actorstore.local_deliver('00000000-0000-0000-0000-000000000001', 1, (SELECT coalesce(max(batch), 0) + 1 FROM actorstore.inbox WHERE origin = '00000000-0000-0000-0000-000000000001'), 1, '\\x$hex')");
}
sub deliver { return deliver_all(letter(@_)); }
my ($late, $early, $exited) = (new_at('trap', 'two'), new_at('plain', 'one'), new_at('plain', 'one'));
settle();
say_to('plain', $exited, 'stop', '{"reason": "normal"}');
settle();
is(deliver('trap', $late, '$link', qq({"actor_type": "plain", "actor_id": "$_"})), '00000', 'a link that was ended before') foreach $early, $exited;
settle();
is(links(), '', 'is no more');
is(state_of('trap', $late), qq(["\$exit plain $exited noproc"]), 'and who has exited says so');

# No shape ends the server, nor reaches the actor.
my @system = ((map { "\$$_" } qw(start stop pre_restart post_restart down exit nodedown nodeup failed monitor demonitor link linked unlink child terminated started restart shutdown released adopted adopt left kept revived advance what)), '$');
my $actor = '"actor_type": "plain", "actor_id": "x"';
my @bodies = (undef, 'null', '7', '"x"', '[]', '{}', "[{$actor, \"reason\": \"r\"}]", '{"actor_type": 1, "actor_id": 2, "reason": 3}', '{"actor_type": "plain", "reason": null}', '{"actor_type": "", "actor_id": "x", "reason": []}', qq({"actor_type": "plain", "actor_id": "@{[ 'x' x 513 ]}"}), '{"a": ' x 100 . '1' . '}' x 100);
my @headers = (undef, '7', '[1]', '{}', '{"links": 1, "monitor": "1"}', '{"links": "1", "monitor": 1}');
my @letters;
foreach my $name (@system) { foreach my $body (@bodies) { push @letters, map { letter('trap', $late, $name, $body, $_) } @headers; } }
my $links = qq({$actor, "reason": "r"});
push @letters, map { letter('trap', $late, '$exit', $links, qq({"links": "$_"})) } '', ',', '1,', 'x', '1,,2', '-1', '0', ' 1', '+1', '1;', '9' x 19, '1,' . '9' x 40;
push @letters, map { letter('trap', $late, '$down', $links, qq({"monitor": $_})) } '1e30', '-1', '0', '9223372036854775808', 'null';
my $asked = qq($actor, "relation": 1, "number": 1, "restart": "permanent", "strategy": "one_for_one", "max_restarts": 1, "period": "1 s", "asked_at": 1);
foreach my $wrong ('"restart": "often"', '"restart": null', '"strategy": "all"', '"max_restarts": -1', '"max_restarts": 2147483648', '"period": "x"', '"period": "0 s"', '"period": "-1 s"', '"period": 1', qq("period": "@{[ '1 ' x 1000 ]}"), '"relation": 0', '"relation": "1"', '"number": 0', '"asked_at": 1e30', '"asked_at": 9223372036854775807', '"number": 9223372036854775807', '"asked_at": null', '"actor_id": ""')
{
	push @letters, letter('trap', $late, '$adopt', "{$asked, $wrong}");
	push @letters, letter('trap', $late, '$child', qq({$asked, "reason": "r", $wrong}));
}
push @letters, map { letter('trap', $late, $_, '{"relation": 1, "step": -1, "reason": "r"}') } qw($restart $shutdown $released $terminated $started $kept);
push @letters, letter('trap', $late, '$exit', $links, '{"links": "1"}', 4), letter('trap', $late, '$start', '{"reason": "r"}', undef, 0, 1), letter('trap', $late, '$start', '{"reason": "r"}', undef, 0, 0, 1);
push @letters, map { letter('trap', $late, $_, qq({$actor, "reason": "r", "step": 1, "final": true, "directive": "stop", "node_name": "one"}), '{"links": "1", "monitor": 1}') } qw($stop $failed $child $terminated $started $restart $shutdown $released $adopted $revived $advance $nodedown $nodeup);
is(deliver_all(@letters), '00000', 'what nobody says does not block the lane');
settle();
is($two->safe_psql('d', q{SELECT reason, sqlstate, count(*) FROM actorstore.dead_message GROUP BY 1, 2}), 'not understood|22023|' . @letters, 'it becomes dead letters');
is(state_of('trap', $late), qq(["\$exit plain $exited noproc"]), 'and the actor has not heard of it');

# Nor is anybody's life changed by who has no right to.
my ($x, $y) = (new_at('plain', 'one'), new_at('plain', 'two'));
my ($kept, $down) = (new_at('trap', 'two'), shift @{ $of{'trap two'} });
settle();
say_to('plain', $y, 'link', other('plain', $x));
say_to('trap', $kept, 'monitor', other('plain', $x));
$two->safe_psql('d', "SELECT actorstore.supervise('trap', '$kept', 'trap', '$down')");
settle();
my $before = links() . ' ' . count('monitor') . ' ' . count('watcher');
my ($link) = rows($two, 'd', "SELECT number FROM actorstore.link WHERE actor_id = '$y'");
my ($monitor) = rows($two, 'd', q{SELECT number FROM actorstore.monitor});
my $x_exits = qq({"actor_type": "plain", "actor_id": "$x", "reason": "forged"});
my $z_exits = qq({"actor_type": "plain", "actor_id": "z", "reason": "forged"});
is(deliver_all((map { letter('plain', $y, $_, $x_exits, qq({"links": "1,@{[ $link + 1 ]}"})), letter('plain', $y, $_, $z_exits, qq({"links": "$link"})) } qw($exit $unlink)),
	letter('trap', $kept, '$down', $x_exits, qq({"monitor": @{[ $monitor + 1 ]}})), letter('trap', $kept, '$down', $z_exits, qq({"monitor": $monitor})),
	letter('plain', $y, '$demonitor', $x_exits, '{"monitor": 1}'), letter('trap', $kept, '$start', '{"reason": "spawn"}'),
	letter('plain', $y, '$linked', $x_exits, qq({"links": "$link"})), letter('plain', $y, '$linked', $z_exits, '{"links": "1"}'),
	letter('plain', $y, '$monitor', '{"actor_type": "no such type", "actor_id": "x"}'), letter('no such type', 'x', '$monitor', '{"actor_type": "no such type", "actor_id": "y"}')), '00000', 'exits that there were not');
is(deliver('trap', $kept, '$link', '{"actor_type": "no such type", "actor_id": "x"}'), '00000', 'a link to nobody');
settle();
is(links() . ' ' . count('monitor') . ' ' . count('watcher'), $before, 'links and monitors are as before');
unlike(halts(), qr/plain ($x|$y) |trap ($kept|$down) /, 'nobody has exited');
is(state_of('trap', $kept), '["$exit no such type x noproc"]', 'nobody has heard of it, but who was to be linked to nobody');
is($two->safe_psql('d', q{SELECT reason, count(*) FROM actorstore.dead_message GROUP BY 1 ORDER BY 1}), 'not understood|' . @letters, 'and no dead letters');
# Nobody speaks for another actor, even if all else is right.
my @says = (['plain', $y, '$exit', $x_exits, qq({"links": "$link"})], ['plain', $y, '$unlink', $x_exits, qq({"links": "$link"})], ['trap', $kept, '$down', $x_exits, qq({"monitor": $monitor})],
	['plain', $y, '$link', $x_exits], ['plain', $y, '$linked', $x_exits, '{"links": "1"}'], ['plain', $y, '$monitor', $x_exits], ['plain', $y, '$demonitor', $x_exits, '{"monitor": 1}'], ['no such type', 'x', '$monitor', $x_exits]);
my @forged = map { my $says = $_; map { letter_from($_, @$says) } [], [ 'plain', 'z' ], [ 'trap', $x ], [ 'plain', "$x " ] } @says;
my $log_from = -s $two->logfile;
is(deliver_all(@forged), '00000', 'in the name of another actor');
settle();
like(slurp_file($two->logfile, $log_from), qr/LOG:  refused @{[ scalar @forged ]} messages of the system from node 00000000-0000-0000-0000-000000000001\n.*DETAIL:  The first one, "\$exit" to "$y" of type "plain", is a message of the system in the name of another actor than its sender\.\n/, 'the log says so');
is(links() . ' ' . count('monitor') . ' ' . count('watcher'), $before, 'links and monitors are as before that, too');
unlike(halts(), qr/plain ($x|$y) |trap ($kept|$down) /, 'and nobody has exited');
my $in_name = q{FROM actorstore.dead_message WHERE reason = 'not understood' AND sqlstate = '22023' AND error LIKE '%in the name of another actor than its sender'};
is($two->safe_psql('d', "SELECT count(*) $in_name"), @forged, 'they are dead letters, and say why');
$two->safe_psql('d', q{SELECT actorstore.redrive(t) FROM unnest(ARRAY['plain', 'trap']) AS t});
settle();
is($two->safe_psql('d', "SELECT count(*) $in_name"), @forged, 'which nobody can send again');
is(links() . ' ' . count('monitor') . ' ' . count('watcher') . ' ' . $two->safe_psql('d', q{SELECT count(*) FROM actorstore.dead_message}), "$before " . (@letters + @forged), 'nothing has come of it');

my $tree = q{SELECT (SELECT string_agg(s::text, ',') FROM actorstore.supervised AS s), (SELECT string_agg(c::text, ',') FROM actorstore.child AS c), (SELECT count(*) FROM actorstore.supervision_step), (SELECT count(*) FROM actorstore.halted)};
my $as_it_is = $two->safe_psql('d', $tree);
my ($relation) = rows($two, 'd', 'SELECT relation FROM actorstore.child');
my $other = $relation + 1;
my $kin = qq("actor_type": "trap", "actor_id": "$down");
is(deliver_all((map { letter('trap', $down, $_, qq({"relation": $other, "step": 1, "reason": "r", "final": true, "forget": true})) } qw($restart $shutdown $released $kept)),
	letter('trap', $kept, '$left', qq({$kin, "relation": $other})), letter('trap', $kept, '$child', qq({$kin, "relation": $other, "reason": "r"})),
	(map { letter('trap', $kept, $_, qq({"relation": $relation, "step": 1})) } qw($started $terminated)),
	letter('trap', $kept, '$adopt', qq({"actor_type": "plain", "actor_id": "$y", "relation": $other, "number": 1, "restart": "permanent", "strategy": "one_for_one", "max_restarts": 1, "period": "1 s", "asked_at": 1})),
	letter('trap', $kept, '$adopt', '{"actor_type": "no such type", "actor_id": "x", "relation": 1, "number": 1, "restart": "permanent", "strategy": "one_for_one", "max_restarts": 1, "period": "1 s", "asked_at": 1}')), '00000', 'a supervisor and a child that are none');
settle();
is($two->safe_psql('d', $tree), $as_it_is, 'who supervises whom is as before');

# Nor does anybody speak for a child.
my $asked_later = qq({"actor_type": "plain", "actor_id": "$y", "relation": $other, "number": 1, "restart": "permanent", "strategy": "one_for_one", "max_restarts": 1, "period": "1 s", "asked_at": @{[ time * 1_000_000 ]}});
@forged = map { my $says = $_; map { letter_from($_, 'trap', $kept, @$says) } [], [ 'plain', 'z' ], [ 'trap', $kept ] } ['$left', qq({$kin, "relation": $relation})], ['$child', qq({$kin, "relation": $relation, "reason": "r"})], ['$adopt', $asked_later];
is(deliver_all(letter_from([ 'trap', undef ], 'trap', $kept, '$left', qq({$kin, "relation": $relation}))), 'XX001', 'from half an actor');
is(deliver_all(@forged), '00000', 'in the name of a child');
settle();
is($two->safe_psql('d', $tree), $as_it_is, 'who supervises whom is as before that, too');
is($two->safe_psql('d', "SELECT count(*) $in_name AND message IN ('\$left', '\$child', '\$adopt')"), @forged, 'they are dead letters');
say_to('plain', $x, 'stop', '{"reason": "boom"}');
settle();
is(state_of('trap', $kept), qq(["\$exit no such type x noproc", "\$down plain $x boom"]), 'what is so is told');
like(halts(), qr/plain $y stopped boom/, 'along links, too');
$two->safe_psql('d', "SELECT actorstore.unsupervise('trap', '$down')");

# Everybody links to, watches and leaves everybody while servers are killed.
my @all = ((map { new_at('trap', 'one') } 1 .. 12), (map { new_at('trap', 'two') } 1 .. 12));
settle();
srand(4711);
foreach my $round (1 .. 3)
{
	foreach my $node (@nodes)
	{
		my $statement = join ', ', map { my ($x, $y) = @all[ rand @all, rand @all ]; my $message = (qw(link link unlink monitor monitor demonitor both))[ rand 7 ]; "actorstore.send('trap', '$x', '$message', '" . other('trap', $y) . q{')} } 1 .. 150;
		$node->safe_psql('d', "SELECT $statement");
		$node->safe_psql('d', "SELECT actorstore.send('trap', '$all[rand @all]', 'stop', '{\"reason\": \"normal\"}')");
	}
	my $victim = $nodes[ $round % 2 ];
	$victim->stop('immediate');
	$victim->start;
}
settle();
is(halves(), '', 'no half of a link or a monitor is left');
cmp_ok((split / /, count('link'))[0], '>', 0, 'some links stand');
my ($linked) = rows($one, 'd', q{SELECT actor_id FROM actorstore.link LIMIT 1});
say_to('trap', $linked, 'stop', '{"reason": "the end"}');
settle();
is(halves(), '', 'one is told, and no half is left');
is(join(' ', map { $_->safe_psql('d', q{SELECT count(*) FROM actorstore.link AS l JOIN actorstore.halted AS h USING (actor_type, actor_id)}) } @nodes), '0 0', 'who has exited has no links');

$_->stop foreach @nodes;
done_testing();
