# Messages to actors of other nodes: they leave with the transaction that sends
# them, arrive once and in order, whoever dies on the way.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";

use ActorstoreTest;
use PostgreSQL::Test::Utils;
use Test::More;

my @nodes = new_cluster('one', 'two', 'three', { faults => 1, settings => "actorstore.resolver_interval = 100ms\nmax_worker_processes = 16\nactorstore.peer_timeout = 60s" });
my ($one, $two, $three) = @nodes;
foreach my $node (@nodes)
{
	$node->safe_psql('d', q{
		CREATE FUNCTION relay(state jsonb, body jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
		BEGIN
			PERFORM actorstore.send('t', body ->> 'to', 'add', body -> 'n');
			RETURN coalesce(state, '0')::int + 1;
		END $$;
		CREATE FUNCTION question(state jsonb, body jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
		BEGIN
			PERFORM actorstore.send('t', body ->> 'to', 'echo', body -> 'n', headers => '{"re": 7}');
			RETURN NULL;
		END $$;
		CREATE FUNCTION echo(state jsonb, body jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
		BEGIN
			PERFORM actorstore.send(sender_type, sender_id, 'add', jsonb_build_array(actor_id, body, headers)) FROM actorstore.context();
			RETURN NULL;
		END $$;
		CREATE ROLE alice LOGIN})
}
# What is declared must be so on all.
$_->safe_psql('d', q{
	DO $$
	BEGIN
		IF to_regtype('actorstore.actor') IS NOT NULL AND NOT EXISTS (SELECT FROM actorstore.type WHERE actor_type = 't') THEN
			PERFORM actorstore.create_type('t', mailbox_limit => 1000000), actorstore.set_handler('t', 'add', 'public.collect(jsonb, jsonb)'),
				actorstore.set_handler('t', 'relay', 'public.relay(jsonb, jsonb)'),
				actorstore.set_handler('t', 'question', 'public.question(jsonb, jsonb)'), actorstore.set_handler('t', 'echo', 'public.echo(jsonb, jsonb)'), actorstore.grant_type('t', 'alice', '{read,send}'),
				actorstore.create_type('small', mailbox_limit => 3), actorstore.create_type('patient', mailbox_limit => 3, on_full => 'wait'), actorstore.create_type('dropped', on_full => 'drop');
		END IF;
	END $$}) foreach @nodes;

# Ids of actors by the node that they live on.
my %of;
push @{ $of{ (split /\|/)[0] } }, (split /\|/)[1] foreach rows($one, 'd', q{SELECT actorstore.locate('t', 'a' || i), 'a' || i FROM generate_series(1, 300) AS i});
my ($here, $there, $far) = map { $of{$_}[0] } qw(one two three);

sub value_on { my ($node, $id) = @_; return $node->safe_psql('d', "SELECT value FROM actorstore.actor WHERE actor_type = 't' AND actor_id = '$id'"); }
sub list { return '[' . join(', ', @_) . ']'; }
sub comes_to { my ($node, $id, $value, $name) = @_; comes_true($node, 'd', "(SELECT value FROM actorstore.actor WHERE actor_type = 't' AND actor_id = '$id') = '$value'"); is(value_on($node, $id), $value, $name); return; }
sub arrived { my ($name) = @_; ok(!(grep { !comes_true($_, 'd', 'NOT EXISTS (SELECT FROM actorstore.outbox)') } @nodes), "$name: the outbox is empty"); return; }
sub fault { my ($node, $fault) = @_; $node->safe_psql('postgres', "ALTER SYSTEM SET actorstore.fault = '$fault'"); $node->reload; $node->poll_query_until('postgres', "SELECT current_setting('actorstore.fault') = '$fault'"); return; }

# In order, with a transaction or not at all.
$one->safe_psql('d', "SELECT actorstore.send('t', '$there', 'add', to_jsonb(i)) FROM generate_series(1, 5) AS i");
$one->safe_psql('d', "SELECT actorstore.send_many('t', array_agg(id), 'add', array_agg(to_jsonb(i)) ) FROM (SELECT unnest(ARRAY['$there', '$far', '$here']) AS id, i FROM generate_series(6, 10) AS i) AS x");
$one->psql('d', "BEGIN; SELECT actorstore.send('t', '$there', 'add', '0'); ROLLBACK; BEGIN; SAVEPOINT a; SELECT actorstore.send('t', '$there', 'add', '0'); ROLLBACK TO a; SELECT actorstore.send('t', '$there', 'add', '11'); COMMIT");
comes_to($two, $there, list(1 .. 11), 'sent one by one, many at once, beside what was rolled back');
comes_to($three, $far, list(6 .. 10), 'to a third node');
comes_to($one, $here, list(6 .. 10), 'and to this one');
arrived('sent');
is($two->safe_psql('d', q{SELECT count(*) FROM actorstore.actor WHERE actor_type = 't'}), 1, 'each actor is where it belongs');
ok(comes_true($one, 'd', q{(SELECT sum(on_their_way) FROM actorstore.stat_outbox) = 0}), 'nothing is on its way');
is($one->safe_psql('d', 'SELECT node_name, forwarded FROM actorstore.stat_outbox ORDER BY 1'), "three|5\ntwo|11", 'as is counted');

# What a handler sends leaves with its turn.
$one->safe_psql('d', "SELECT actorstore.send('t', '$here', 'relay', jsonb_build_object('to', '$of{two}[1]', 'n', i)) FROM generate_series(1, 100) AS i") if $one->safe_psql('d', "SELECT actorstore.delete('t', '$here') IS NOT NULL");
comes_to($two, $of{two}[1], list(1 .. 100), 'a handler sends');

# Who is sent something knows by whom, and can answer.
$one->safe_psql('d', "SELECT actorstore.send('t', '$of{one}[1]', 'question', jsonb_build_object('to', id, 'n', i)) FROM generate_series(1, 3) AS i, unnest('{$of{two}[7]}'::text[]) AS id");
comes_to($one, $of{one}[1], list(map { qq(["$of{two}[7]", $_, {"re": 7}]) } 1 .. 3), 'a question, its echo from another node');

# What is sent at once goes in few batches.
my ($forwarded, $batches) = split /\|/, $one->safe_psql('d', q{SELECT forwarded, batches FROM actorstore.stat_outbox WHERE node_name = 'two'});
$one->safe_psql('d', "SELECT count(actorstore.send('t', '$of{two}[8]', 'add', to_jsonb(i))) FROM generate_series(1, 3000) AS i");
comes_to($two, $of{two}[8], list(1 .. 3000), 'three thousand at once');
ok(comes_true($one, 'd', "(SELECT forwarded = $forwarded + 3000 FROM actorstore.stat_outbox WHERE node_name = 'two')"), 'are counted');
cmp_ok($one->safe_psql('d', q{SELECT batches FROM actorstore.stat_outbox WHERE node_name = 'two'}) - $batches, '<=', 10, 'and have come in ten batches or fewer');

# Priorities, times, headers and senders travel; ids are known before.
$two->safe_psql('d', q{SELECT actorstore.pause('t')});
my ($first, $second, $third) = split /\|/, $one->safe_psql('d', qq{SELECT actorstore.send('t', '$there', 'add', '21', priority => 6, headers => '{"h": 1}'),
	actorstore.send('t', '$there', 'add', '22', priority => 2), actorstore.send('t', '$there', 'add', '23', deliver_at => '2200-01-01 00:00+00', expires_at => '2200-01-02 00:00+00')});
ok(comes_true($two, 'd', "(SELECT count(*) FROM actorstore.message WHERE actor_id = '$there') = 3"), 'they wait there');
is($two->safe_psql('d', q{SET timezone = 'UTC'; SELECT message_id, body, priority, headers, due, expires_at FROM actorstore.message ORDER BY message_id}),
	"$first|21|6|{\"h\": 1}||\n$second|22|2|||\n$third|23|4||2200-01-01 00:00:00+00|2200-01-02 00:00:00+00", 'with all that they were sent with');
is($two->safe_psql('d', "SELECT actorstore.cancel($third), actorstore.cancel($third)"), 't|f', 'where it is now it can be taken back');
is(join(' ', map { $_ >> 48 } $first, $second, $third), '1 1 1', 'their ids say which node has made them');
my $back = $one->safe_psql('d', "SELECT actorstore.send('t', '$there', 'add', '24')");
ok(comes_true($two, 'd', "EXISTS (SELECT FROM actorstore.message WHERE message_id = $back)"), 'one more');
is($two->safe_psql('d', "SELECT actorstore.cancel($back), actorstore.cancel($back)"), 't|f', 'and taken back, though it waits for no time');
my $own = $two->safe_psql('d', "SELECT actorstore.send('t', '$there', 'add', '25')");
is($own >> 48, 2, 'another node makes other ids');
is($two->safe_psql('d', "SELECT actorstore.cancel($own), actorstore.cancel($own)"), 't|f', 'and takes them back');
$two->safe_psql('d', q{SELECT actorstore.resume('t')});
comes_to($two, $there, list(1 .. 11, 22, 21), 'the urgent one first');

# Who commits later is not passed by.
my @sessions = map { ActorstoreTest::Session->new($one, 'd') } 1 .. 2;
$sessions[0]->query('BEGIN');
$sessions[0]->query("SELECT actorstore.send('t', '$of{three}[1]', 'add', '1')");
$sessions[1]->query("SELECT actorstore.send('t', '$of{three}[1]', 'add', '2')");
comes_to($three, $of{three}[1], '[2]', 'the later one was committed first');
$sessions[0]->query('COMMIT');
comes_to($three, $of{three}[1], '[2, 1]', 'the earlier one is not lost');
$sessions[0]->query('BEGIN');
$sessions[0]->query("SELECT actorstore.send('t', '$of{three}[1]', 'add', '3')");
$sessions[0]->query(q{PREPARE TRANSACTION 'p'});
$sessions[1]->query(q{COMMIT PREPARED 'p'});
comes_to($three, $of{three}[1], '[2, 1, 3]', 'nor is one that was prepared');
$_->quit foreach @sessions;

# Decided on arrival: duplicates, expired ones, mailboxes that are full.
$three->safe_psql('d', q{SELECT actorstore.pause('t'), actorstore.pause('small'), actorstore.pause('patient')});
my ($small) = rows($one, 'd', q{SELECT 'b' || i FROM generate_series(1, 300) AS i WHERE actorstore.locate('small', 'b' || i) = 'three' AND actorstore.locate('patient', 'b' || i) = 'three' LIMIT 1});
isnt($one->safe_psql('d', "SELECT actorstore.send('t', '$of{three}[2]', 'add', '1', dedup_key => 'k')"),
	$one->safe_psql('d', "SELECT actorstore.send('t', '$of{three}[2]', 'add', '1', dedup_key => 'k')"), 'a duplicate has an id of its own here');
$one->safe_psql('d', "SELECT actorstore.send('small', '$small', 'm', to_jsonb(i)) FROM generate_series(1, 5) AS i; SELECT actorstore.send('patient', '$small', 'm', to_jsonb(i)) FROM generate_series(1, 5) AS i");
arrived('to full mailboxes');
ok(comes_true($three, 'd', q{(SELECT count(*) FROM actorstore.message WHERE actor_type = 'patient') = 5}), 'a mailbox whose senders wait takes what has left already');
is($three->safe_psql('d', q{SELECT count(*) FROM actorstore.message WHERE actor_type = 'small'}), 3, 'another one is full');
sub crowds
{
	my ($node, $number) = @_;
	my ($epoch, $envelope) = split /\|/, $one->safe_psql('d', "SELECT (SELECT max(epoch) FROM actorstore.epoch), encode(envelope, 'hex') FROM actorstore.outbox_batch WHERE node_number = $number ORDER BY incarnation DESC, batch DESC LIMIT 1");
	return $node->safe_psql('d', "BEGIN; SELECT crowded FROM actorstore.local_deliver(gen_random_uuid(), 1, 1, $epoch, '\\x$envelope'); ROLLBACK");
}
$one->safe_psql('d', "SELECT actorstore.send('patient', '$small', 'm', '6')");
arrived('one more');
is(crowds($three, 3), 't', 'whose node is told that senders should wait');
is(crowds($two, 2), 'f', 'where there is room they need not');
is($three->safe_psql('d', q{SELECT string_agg(body::text || ' ' || reason, ', ' ORDER BY message_id) FROM actorstore.dead_message}), '4 mailbox full, 5 mailbox full', 'and the rest are dead letters');
is($three->safe_psql('d', qq{SELECT count(*) FROM actorstore.message WHERE actor_type = 't' AND actor_id = '$of{three}[2]'}), 1, 'a duplicate is dropped');
is(sqlstate($three, 'd', q{SELECT actorstore.redrive('small')}), 'VA001', 'what has died there cannot go into a full mailbox');
is($three->safe_psql('d', q{SELECT actorstore.alter_type('small', mailbox_limit => 5); SELECT actorstore.redrive('small')}), "\n2", 'but into one with room');
is($three->safe_psql('d', q{SELECT string_agg((message_id >> 48) || ' ' || body, ', ' ORDER BY position) FROM actorstore.message WHERE actor_type = 'small'}),
	'1 1, 1 2, 1 3, 3 4, 3 5', 'behind the others, as messages of this node');
is($three->safe_psql('d', q{SELECT count(*) FROM actorstore.dead_message}), 0, 'no dead letter is left');
$one->safe_psql('d', "SELECT actorstore.send('t', id, 'add', '1', expires_at => at::timestamptz) FROM unnest('{$of{three}[9],$of{one}[9]}'::text[]) AS id, unnest('{-infinity,1999-12-31,2000-01-01 00:00+00,2000-01-02}'::text[]) AS at");
$three->safe_psql('d', q{SELECT actorstore.resume('t'), actorstore.resume('small'), actorstore.resume('patient')});
foreach my $node ($three, $one)
{
	ok(comes_true($node, 'd', q{(SELECT count(*) = 4 FROM actorstore.dead_message WHERE actor_type = 't')}), 'what has expired is not handled on ' . $node->name);
	is($node->safe_psql('d', q{SELECT DISTINCT message, reason FROM actorstore.dead_message WHERE actor_type = 't'}), 'add|expired', 'and it is said why');
}
is($two->safe_psql('d', q{SELECT actorstore.purge_dead_letters('t', 'infinity')}), '8', 'all are deleted from anywhere');

# Nothing flushes what others have committed.
sub set_wal_writer_delay
{
	$one->safe_psql('postgres', "ALTER SYSTEM SET wal_writer_delay = $_[0]");
	$one->reload;
	return;
}

# What the sender has not flushed: the other node has it, and does not commit it.
sub is_not_there_yet
{
	my ($n) = @_;

	ok(comes_true($two, 'd', q{EXISTS (SELECT FROM pg_stat_activity WHERE query LIKE '%local_deliver%' AND backend_xid IS NOT NULL AND wait_event = 'ClientRead')}), 'the other node has stored it');
	is(value_on($two, $of{two}[4]), $n == 0 ? '' : list(1 .. $n), 'and waits for the flush');
	return;
}

# The other node is down: they wait, can be taken back, and there may not be too many.
my ($failures, $log_from) = ($one->safe_psql('d', q{SELECT failures FROM actorstore.stat_outbox WHERE node_name = 'three'}), -s $one->logfile);
$three->stop('immediate');
$one->safe_psql('d', "SELECT actorstore.send('t', '$of{three}[3]', 'add', to_jsonb(i)) FROM generate_series(1, 100) AS i");
my $late = $one->safe_psql('d', "SELECT actorstore.send('t', '$of{three}[3]', 'add', '0')");
is($one->safe_psql('d', "SELECT actorstore.cancel($late), actorstore.cancel($late)"), 't|f', 'taken back');
$one->safe_psql('d', q{ALTER SYSTEM SET actorstore.outbox_limit = 50});
$one->reload;
$one->poll_query_until('d', q{SELECT current_setting('actorstore.outbox_limit') = '50'});
is(sqlstate($one, 'd', "SELECT actorstore.send('t', '$of{three}[3]', 'add', '0')"), 'VA001', 'too many are on their way');
my ($dropped) = rows($one, 'd', q{SELECT 'b' || i FROM generate_series(1, 300) AS i WHERE actorstore.locate('dropped', 'b' || i) = 'three' LIMIT 1});
is($one->safe_psql('d', "SELECT actorstore.send('dropped', '$dropped', 'm', '7') > 0; SELECT actor_id, body, reason, sqlstate FROM actorstore.dead_letter"), "t\n$dropped|7|outbox full|VA001", 'where the type says so they are dropped');
is(sqlstate($one, 'd', "SELECT actorstore.set_timer('dropped', '$dropped', 'n', 'm', after => '1 h')"), 'VA001', 'but timers are not');
is($one->safe_psql('d', q{SELECT count(*) FROM actorstore.dead_message; DELETE FROM actorstore.dead_message}), '1', 'nothing else was');
my $waiting = ActorstoreTest::Session->new($one, 'd');
$waiting->start("SELECT actorstore.send('patient', '$small', 'm', '6') > 0");
ok(comes_true($one, 'd', "(SELECT state = 'active' FROM pg_stat_activity WHERE pid = $waiting->{pid})"), 'who may wait, waits');
my $outbox = q{SELECT detail FROM actorstore.doctor() WHERE item = 'outbox' AND NOT ok};
is($one->safe_psql('d', $outbox), '', 'not for long');
$one->safe_psql('d', q{UPDATE actorstore.outbox SET sent_at = sent_at - interval '2 min'; UPDATE actorstore.outbox_batch SET made_at = made_at - interval '2 min' WHERE node_number = 3});
is($one->safe_psql('d', $outbox), 'messages to node three have been on their way for more than a minute', 'or so it seems to doctor()');
ok(comes_true($one, 'd', "(SELECT failures > $failures + 2 FROM actorstore.stat_outbox WHERE node_name = 'three')"), 'it is tried again and again');
is(() = slurp_file($one->logfile, $log_from) =~ /LOG:  messages to node number 3 wait: /g, 1, 'and said once');
$three->append_conf('postgresql.conf', 'log_min_messages = debug1');
$three->start;
is($waiting->finish, 't', 'until there is room');
comes_to($three, $of{three}[3], list(1 .. 100), 'all that waited have arrived');
like(slurp_file($one->logfile, $log_from), qr/LOG:  messages to node "three" go on/, 'as is said');
is($one->safe_psql('d', $outbox), '', 'doctor() has nothing to say');
like(slurp_file($three->logfile), qr/DEBUG:  received batch \d+ from node [-0-9a-f]{36}: \d+ messages, \d+ bytes$/m, 'its log can tell of batches');
$three->append_conf('postgresql.conf', 'log_min_messages = warning');
$three->reload;
$one->safe_psql('d', q{ALTER SYSTEM RESET actorstore.outbox_limit});
$one->reload;

# Processes and servers die on the way.
my ($n, $expected) = (0, '');
my %places = (forward_made => $one, forward_unsafe => $one, forward_sent => $one, deliver_stored => $two);
set_wal_writer_delay(10000);
foreach my $place (sort keys %places)
{
	foreach my $how (qw(terminate immediate))
	{
		my $node = $places{$place};

		fault($node, "$place:wait");
		$one->safe_psql('d', "SELECT actorstore.send('t', '$of{two}[4]', 'add', to_jsonb(i)) FROM generate_series($n + 1, $n + 20) AS i");
		$n += 20;
		reached($node, $place);
		fault($node, '');
		is_not_there_yet($n - 20) if $place eq 'forward_unsafe';
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
		comes_to($two, $of{two}[4], list(1 .. $n), "$how at $place: nothing is lost or doubled");
	}
}

# A batch that the forwarder has not flushed is, before the next one has it stored there.  (A reload flushes.)
fault($one, 'forward_unsafe:wait');
$one->safe_psql('d', "SELECT actorstore.send('t', '$of{two}[4]', 'add', to_jsonb(i)) FROM generate_series($n + 1, $n + 20) AS i");
reached($one, 'forward_unsafe');
unlink $one->data_dir . '/fault.forward_unsafe.reached';
$one->safe_psql('postgres', q{SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE backend_type = 'actorstore forwarder'});
reached($one, 'forward_unsafe');
release($one, 'forward_unsafe');
comes_to($two, $of{two}[4], list(1 .. $n + 20), 'a batch that was made and not flushed arrives');
$one->stop('immediate');
$one->append_conf('postgresql.auto.conf', q{actorstore.fault = ''});
$one->start;
$one->safe_psql('d', "SELECT actorstore.send('t', '$of{two}[4]', 'add', to_jsonb($n + 21))");
comes_to($two, $of{two}[4], list(1 .. $n + 21), 'and not once more, once its server has crashed');
set_wal_writer_delay(200);

# Batches that were answered are deleted, the last one is kept.
foreach my $node ($one)
{
	$node->safe_psql('postgres', 'ALTER SYSTEM SET actorstore.outbox_retention = 0');
	$node->reload;
	$node->safe_psql('d', "SELECT actorstore.send('t', '$there', 'add', '99')");
	ok(comes_true($node, 'd', q{(SELECT max(n) FROM (SELECT count(*) AS n FROM actorstore.outbox_batch GROUP BY node_number) AS x) = 1}), 'old batches go');
}
# A receiver that has lost what it had acknowledged is told; the rest goes on.
my $log = -s $two->logfile;
$two->safe_psql('d', 'UPDATE actorstore.inbox SET batch = 0');
$one->safe_psql('d', q{SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE backend_type = 'actorstore forwarder'});
$one->safe_psql('d', "SELECT actorstore.send('t', '$of{two}[5]', 'add', '1')");
ok(comes_true($two, 'd', "EXISTS (SELECT FROM actorstore.actor WHERE actor_type = 't' AND actor_id = '$of{two}[5]')"), 'messages after a loss arrive');
like(slurp_file($two->logfile, $log), qr/batches \d+ to \d+ of messages from node .* are LOST/, 'the loss is in the log');

# Whatever another node sends is looked at.
sub deliver { my ($envelope) = @_; return sqlstate($two, 'd', "SELECT actorstore.local_deliver(gen_random_uuid(), 1, 1, 1, $envelope)"); }
is(deliver($_), 'XX001', "a batch that is none: $_") foreach q{''}, q{'\x00'}, q{convert_to(repeat('ASME', 20), 'UTF8')}, q{decode('41534d4501000000' || repeat('ff', 64), 'hex')};
is(sqlstate($two, 'd', "SELECT actorstore.local_deliver(gen_random_uuid(), 1, 1, 1000000, '')"), 'VA007', 'by a map to come');
is($two->safe_psql('d', q{SELECT watermark, crowded FROM actorstore.local_deliver(gen_random_uuid(), 1, 7, 1, '')}), '0|f', 'a batch that is not the next one is not looked at');

# Nobody else may.
foreach my $sql (q{SELECT * FROM actorstore.outbox}, q{SELECT * FROM actorstore.outbox_batch}, q{SELECT * FROM actorstore.inbox}, q{INSERT INTO actorstore.inbox VALUES (gen_random_uuid(), 1, 1)},
	q{SELECT actorstore.local_deliver(gen_random_uuid(), 1, 1, 1, '')}, q{SELECT actorstore.local_watermarks(gen_random_uuid())}, q{SELECT actorstore.local_skip(gen_random_uuid(), 1, 1)})
{
	is(sqlstate($one, 'd', $sql, extra_params => [ '-U', 'alice', '-v', 'VERBOSITY=sqlstate' ]), '42501', "alice may not: $sql");
}
is($one->safe_psql('d', "SELECT actorstore.send('t', '$of{two}[6]', 'add', '1') > 0", extra_params => [ '-U', 'alice' ]), 't', 'but she may send');
comes_to($two, $of{two}[6], '[1]', 'and it arrives');

$_->stop foreach @nodes;
done_testing();
