# Timers of actors of other nodes: they are set with the transaction that sets them, once
# and in order, whoever dies on the way; cancel_timer() says what is so.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";

use ActorstoreTest;
use PostgreSQL::Test::Utils;
use Test::More;

my @nodes = new_cluster('one', 'two', { faults => 1, settings => "actorstore.resolver_interval = 100ms\nmax_worker_processes = 16\nactorstore.peer_timeout = 60s" });
my ($one, $two) = @nodes;
$_->safe_psql('d', 'CREATE ROLE alice LOGIN; CREATE ROLE mallory LOGIN') foreach @nodes;
$one->safe_psql('d', q{SELECT actorstore.create_type('t'), actorstore.set_handler('t', 'add', 'public.collect(jsonb, jsonb)'), actorstore.grant_type('t', 'alice', '{send}')});

my %of;
push @{ $of{ (split /\|/)[0] } }, (split /\|/)[1] foreach rows($one, 'd', q{SELECT actorstore.locate('t', 'a' || i), 'a' || i FROM generate_series(1, 100) AS i});
my @ids = @{ $of{two} };
my $far = q{at => '2200-01-01 12:00+00'};

sub set { my ($id, $name, $more) = @_; return "actorstore.set_timer('t', '$id', '$name', 'add', $more)"; }
sub cancel { my ($id, $name) = @_; return $one->safe_psql('d', "SELECT actorstore.cancel_timer('t', '$id', '$name')"); }
sub value_of { my ($id) = @_; return $two->safe_psql('d', "SELECT coalesce((SELECT value FROM actorstore.actor WHERE actor_type = 't' AND actor_id = '$id'), 'null')"); }
sub comes_to { my ($id, $value, $name) = @_; comes_true($two, 'd', "(SELECT value FROM actorstore.actor WHERE actor_type = 't' AND actor_id = '$id') = '$value'"); is(value_of($id), $value, $name); return; }
sub list { return '[' . join(', ', @_) . ']'; }
sub timers { my ($where) = @_; return $two->safe_psql('d', "SET timezone = 'UTC'; SELECT actor_id, name, message, body, due, every, (ARRAY['once', 'all', 'skip'])[missed + 1] FROM actorstore.timer WHERE $where ORDER BY name"); }
sub arrived { ok(comes_true($one, 'd', 'NOT EXISTS (SELECT FROM actorstore.outbox)') && comes_true($one, 'd', '(SELECT sum(on_their_way) FROM actorstore.stat_outbox) = 0'), 'all has arrived'); return; }
sub fault { my ($node, $fault) = @_; $node->safe_psql('postgres', "ALTER SYSTEM SET actorstore.fault = '$fault'"); $node->reload; $node->poll_query_until('postgres', "SELECT current_setting('actorstore.fault') = '$fault'"); return; }
sub as { my ($role) = @_; return (extra_params => [ '-U', $role, '-v', 'VERBOSITY=sqlstate' ]); }

# They stand, and fire, where their actor lives.
$one->safe_psql('d', 'SELECT ' . join(', ', set($ids[0], 'soon', q{'"fired"', after => '1 ms'}), set($ids[0], 'often', q{'"again"', at => '2200-01-31 12:00+00', every => '1 month', missed => 'all'}),
	set($ids[0], 'hourly', q{at => '2200-01-31 12:00+00', every => '1 hour', missed => 'skip'})));
comes_to($ids[0], '["fired"]', 'a timer fires where its actor lives');
is(timers("actor_id = '$ids[0]'"), "$ids[0]|hourly|add||2200-01-31 12:00:00+00|01:00:00|skip\n$ids[0]|often|add|\"again\"|2200-01-31 12:00:00+00|1 mon|all", 'others stand there as they were set');
is($one->safe_psql('d', 'SELECT count(*) FROM actorstore.timer'), 0, 'and not here');
$one->safe_psql('d', 'SELECT ' . set($ids[0], 'often', q{'"sooner"', at => '2100-01-01 00:00+00'}) . ', ' . set($ids[0], 'hourly', q{at => '2000-01-01 00:00+00', every => '200 years'}));
arrived();
comes_to($ids[0], '["fired", null]', 'one that is due already fires at once');
is(timers("actor_id = '$ids[0]'"), "$ids[0]|hourly|add||2200-01-01 00:00:00+00|200 years|once\n$ids[0]|often|add|\"sooner\"|2100-01-01 00:00:00+00||once", 'set anew by their names');

# Whether there was one is known.
is(cancel($ids[0], 'often'), 't', 'cancelled');
is(cancel($ids[0], 'often'), 'f', 'there is none any more');
is(cancel($ids[0], 'never'), 'f', 'nor was there ever');
$one->psql('d', "BEGIN; SELECT actorstore.cancel_timer('t', '$ids[0]', 'hourly'); ROLLBACK; BEGIN; SAVEPOINT a; SELECT actorstore.cancel_timer('t', '$ids[0]', 'hourly'); SELECT " . set($ids[0], 'undone', $far) . '; ROLLBACK TO a; COMMIT');
is($one->safe_psql('d', 'BEGIN; SELECT ' . set($ids[1], 'brief', $far) . "; SELECT actorstore.cancel_timer('t', '$ids[1]', 'brief'), actorstore.cancel_timer('t', '$ids[1]', 'brief'); COMMIT"), "\nt|f", 'set and cancelled in one transaction');
is($one->safe_psql('d', "BEGIN; SELECT actorstore.cancel_timer('t', '$ids[0]', 'hourly'); SELECT " . set($ids[0], 'hourly', q{'"new"', at => '2200-01-01'}) . '; COMMIT'), "t\n", 'cancelled and set');
arrived();
ok(comes_true($two, 'd', q{(SELECT string_agg(name || body, ',') FROM actorstore.timer) = 'hourly"new"'}), 'stands as it was set last');
is(timers('true'), "$ids[0]|hourly|add|\"new\"|2200-01-01 00:00:00+00||once", 'and what was undone does not');
is(cancel($ids[0], 'hourly'), 't', 'it was the last one');

# What is on its way is cancelled, too: before it has left, and after.
fault($one, 'forward_made:wait');
$one->safe_psql('d', 'SELECT ' . set($ids[1], 'left', $far));
reached($one, 'forward_made');
$one->safe_psql('d', 'SELECT ' . set($ids[1], 'here', $far));
fault($one, '');
my $session = ActorstoreTest::Session->new($one, 'd');
$session->start("SELECT actorstore.cancel_timer('t', '$ids[1]', 'here'), actorstore.cancel_timer('t', '$ids[1]', 'left')");
ok(comes_true($one, 'd', "(SELECT wait_event_type = 'Extension' FROM pg_stat_activity WHERE pid = $session->{pid})"), 'cancel_timer() waits for what is on its way');
is(sqlstate($one, 'd', "SET statement_timeout = 500; SELECT actorstore.cancel_timer('t', '$ids[1]', 'left')"), '57014', 'can be cancelled itself');
is(sqlstate($one, 'd', "BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT actorstore.cancel_timer('t', '$ids[1]', 'left')"), '40001', 'and does not wait where nothing newer can be seen');
release($one, 'forward_made');
is($session->finish, 't|t', 'both are cancelled');
$session->quit;
arrived();
is(timers('true'), '', 'and none is there');

# The owner is down.
$two->stop('immediate');
$one->safe_psql('d', 'SELECT ' . set($ids[2], 'late', q{'"late"', after => '0'}));
like(sqlstate($one, 'd', "SELECT actorstore.cancel_timer('t', '$ids[2]', 'late')"), qr/^08/, 'nobody knows whether there is one');
$one->safe_psql('d', q{ALTER SYSTEM SET actorstore.outbox_limit = 1});
$one->reload;
$one->poll_query_until('d', q{SELECT current_setting('actorstore.outbox_limit') = '1'});
is(sqlstate($one, 'd', 'SELECT ' . set($ids[2], 'more', $far)), 'VA001', 'too much is on its way');
$one->safe_psql('d', q{ALTER SYSTEM RESET actorstore.outbox_limit});
$one->reload;
$two->start;
comes_to($ids[2], '["late"]', 'set while the owner was down, it fires afterwards');

# Processes and servers die on the way: each timer fires once, and the last one of a name stands.
my $n = 0;
foreach ([ $one, 'forward_made', 'immediate' ], [ $one, 'forward_sent', 'terminate' ], [ $two, 'deliver_stored', 'terminate' ], [ $two, 'deliver_stored', 'immediate' ])
{
	my ($node, $place, $how) = @$_;

	fault($node, "$place:wait");
	$one->safe_psql('d', 'SELECT ' . join(', ', set($ids[4], "n'||i||'", q{to_jsonb(i), after => '0'}), set($ids[4], 'last', qq{to_jsonb(i), $far}), "actorstore.send('t', '$ids[5]', 'add', to_jsonb(i))") . " FROM generate_series($n + 1, $n + 10) AS i");
	$n += 10;
	reached($node, $place);
	fault($node, '');
	if ($how eq 'terminate')
	{
		$node->safe_psql('postgres', q{SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE backend_type = 'actorstore forwarder' OR query LIKE '%local_deliver%' AND pid <> pg_backend_pid()});
	}
	else
	{
		$node->stop('immediate');
		$node->start;
	}
	unlink map { $node->data_dir . "/fault.$place.$_" } qw(reached go);
	comes_to($ids[5], list(1 .. $n), "$how at $place: messages arrive in their order");
	ok(comes_true($two, 'd', "(SELECT jsonb_array_length(value) FROM actorstore.actor WHERE actor_id = '$ids[4]') >= $n AND NOT EXISTS (SELECT FROM actorstore.timer WHERE name <> 'last')"), 'timers fire');
	is($two->safe_psql('d', "SELECT string_agg(e, ',' ORDER BY e::int) FROM actorstore.actor, jsonb_array_elements_text(value) AS e WHERE actor_id = '$ids[4]'"), join(',', 1 .. $n), 'each once');
	is(timers('true'), "$ids[4]|last|add|$n|2200-01-01 12:00:00+00||once", 'and the last one of a name stands');
}
is(cancel($ids[4], 'last'), 't', 'until it is cancelled');

# Whatever another node calls a timer is looked at.
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
my $number = 0;
sub deliver
{
	my ($kind, $type, $name, $headers, $message) = @_;
	my $body = pack('q<4CC', ++$number, 1, 0, 0, 4, $kind) . join('', map { defined $_ ? pack('V/a*', $_) : pack('V', 0xFFFFFFFF) } $type, $ids[6], $message // 'add', '"bad"', $headers, undef, undef, $name);
	my $head = pack('a4CCvVVV', 'ASME', 1, 0, 0, 1, length $body, length $body);
	my $hex = unpack 'H*', $head . pack('V', crc32c($head . $body)) . $body;
	return sqlstate($two, 'd', "SELECT actorstore.local_deliver('00000000-0000-0000-0000-000000000001', 1, $number, 1, '\\x$hex')");
}
my $good = '"due": 6311433600000000, "missed": 0';
is(deliver(1, 't', 'good', "{$good, \"recurs\": false}"), '00000', 'a timer');
is(timers('true'), "$ids[6]|good|add|\"bad\"|2200-01-01 00:00:00+00||once", 'stands');
is(cancel($ids[6], 'good'), 't', 'like any other');
my $grid = '"recurs": true, "start": 6311433600000000, "nth": 0, "months": 0, "days": 0, "time": 60000000';
is(deliver(1, 't', 'good', "{$good, $grid}"), '00000', 'one that recurs');
is(cancel($ids[6], 'good'), 't', 'likewise');
my @bad = (undef, 'null', '7', '[1]', '{"due": 1e30, "missed": 0}', '{"due": 9223372036854775807, "missed": 0}', '{"due": 1, "missed": 3}', '{"due": 1, "missed": -1}', '{"due": "x", "missed": 1e1000}',
	map { "{$good, $grid, $_}" } '"time": 0', '"time": -1', '"months": -1', '"days": 3000000000', '"days": 1', '"days": 1, "time_zone": "Nowhere/Atall"', '"days": 1, "time_zone": ""', '"time_zone": "UTC"', '"nth": -1', '"start": -9223372036854775808');
is(deliver(1, 't', 'bad', $_), '00000', 'does not block the lane: ' . ($_ // 'nothing')) foreach @bad;
is(deliver(1, 't', undef, "{$good, \"recurs\": false}"), '00000', 'nor one without a name');
is(deliver(1, 'unknown', 'bad', "{$good, \"recurs\": false}"), '00000', 'nor one of an unknown type');
is($two->safe_psql('d', q{SELECT reason, count(*) FROM actorstore.dead_message GROUP BY 1 ORDER BY 1}), "no such type|1\nnot understood|" . (@bad + 1), 'they are dead letters');
is(timers('true'), '', 'and no timers');
# Messages of the system that say nothing.
my @system = qw($start $stop $down $exit $failed $monitor $link $unlink $child $restart $shutdown $nodedown $advance $other);
is(deliver(0, 't', undef, '{}', $_), '00000', "does not block the lane: $_") foreach @system;
is(deliver(1, 't', 'bad', "{$good, \"recurs\": false}", '$exit'), '00000', 'nor does a timer of one');
is($two->safe_psql('d', q{SELECT count(*) FROM actorstore.dead_message WHERE message LIKE '$%' AND reason = 'not understood' AND sqlstate = '22023'}), @system + 1, 'they are dead letters');
is(timers('true'), '', 'and no timers');
comes_to($ids[5], list(1 .. $n), 'workers go on');
is(deliver(2, 't', 'bad', "{$good}"), 'XX001', 'another kind is refused');

# Who may.
is(sqlstate($one, 'd', 'SELECT ' . set($ids[7], 'hers', $far), as('alice')), '00000', 'who may send may set a timer');
is($one->safe_psql('d', "SELECT actorstore.cancel_timer('t', '$ids[7]', 'hers')", extra_params => [ '-U', 'alice' ]), 't', 'and cancel it');
is(sqlstate($one, 'd', $_, as('mallory')), '42501', 'mallory may not') foreach 'SELECT ' . set($ids[7], 'his', $far), "SELECT actorstore.cancel_timer('t', '$ids[7]', 'hers')",
	"SELECT actorstore.local_cancel_timer('alice', 1, 't', '$ids[7]', 'hers', gen_random_uuid(), 1, 0)";

$_->stop foreach @nodes;
done_testing();
