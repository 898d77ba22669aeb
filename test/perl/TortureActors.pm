# What actors do in a cluster that is tortured, beside the bank and the lists of TortureClient: messages that go round a
# ring of actors on all nodes, timers, children that crash and are restarted, turns that clients handle outside, and
# clients that follow the changes of the bank.  Each effect is a row in a table of the user's, handled or followed.
# findings() says what is missing there, or too much.

package TortureActors;

use strict;
use warnings;

use parent -norequire, 'TortureClient';

use ActorstoreTest;
use Exporter 'import';
use List::Util qw(uniq);
use Time::HiRes qw(usleep);
use TortureClient;

our @EXPORT = qw(make_actors drain findings);

my $hops = 8;		# of a message in the ring
my $ring = 30;		# actors in it

# How often a message has an effect, by where it is sent to.
my %effects = (ring => $hops, timer => 1, job => 1, crash => 1);

# Beside what torture_cluster() makes.
sub make_actors
{
	my (@nodes) = @_;

	foreach my $node (@nodes)
	{
		$node->safe_psql('d', qq{
			CREATE TABLE handled (what text, token text, hop int);
			CREATE TABLE followed (sequence text COLLATE "C" PRIMARY KEY, operation text, actor_id text, previous_value jsonb, previous_version bigint, new_value jsonb, new_version bigint);
			GRANT ALL ON handled, followed TO teller, keeper;
			GRANT EXECUTE ON FUNCTION actorstore.supervise TO keeper;
			CREATE FUNCTION pass(state jsonb, body jsonb) RETURNS jsonb LANGUAGE plpgsql AS \$\$
			DECLARE
				me record := actorstore.context();
				hop int := body->'hop';
			BEGIN
				INSERT INTO handled VALUES (me.actor_type, body->>'token', hop);
				IF me.actor_type = 'ring' AND hop < $hops - 1 THEN
					PERFORM actorstore.send('ring', ((me.actor_id::int + 1) % $ring)::text, 'pass', jsonb_set(body, '{hop}', to_jsonb(hop + 1)));
				END IF;
				RETURN to_jsonb(coalesce(state::int, 0) + 1);
			END \$\$;
			CREATE FUNCTION crash(state jsonb, body jsonb) RETURNS jsonb LANGUAGE plpgsql AS 'BEGIN RAISE EXCEPTION \$\$crash\$\$; END'});
	}
	$nodes[0]->safe_psql('d', q{SET ROLE keeper;
		SELECT actorstore.create_type(t, max_attempts => 1000000, backoff => '10 ms', backoff_max => '100 ms') FROM unnest('{ring,timer,job}'::text[]) AS t;
		SELECT actorstore.create_type(t, max_attempts => 1, on_exhausted => 'escalate') FROM unnest('{tree,child}'::text[]) AS t;
		SELECT actorstore.set_handler(t, 'pass', 'pass(jsonb, jsonb)') FROM unnest('{ring,timer}'::text[]) AS t;
		SELECT actorstore.set_handler('job', '*', 'actorstore.outside(jsonb, jsonb)'), actorstore.set_handler('child', 'crash', 'crash(jsonb, jsonb)');
		SELECT actorstore.grant_type(t, 'teller', '{read,send,serve}') FROM unnest('{ring,timer,job,child}'::text[]) AS t;
		SELECT actorstore.put(t, i::text, '0') FROM unnest('{tree,child}'::text[]) AS t, generate_series(0, 11) AS i});
	$nodes[0]->safe_psql('d', q{SET ROLE keeper; SELECT actorstore.supervise('tree', (i / 3)::text, 'child', i::text, (ARRAY['one_for_one', 'one_for_all', 'rest_for_one', 'one_for_one'])[1 + i / 3], 1000000000, '1 day') FROM generate_series(0, 11) AS i});
	$_->safe_psql('d', q{SET ROLE teller; SELECT actorstore.subscribe('bank', 'beginning', '{account}')}) foreach @nodes;
	return;
}

# ---- Clients ----

# A transaction with up to three messages and timers.
sub send_some
{
	my ($self) = @_;
	my @sent;
	my ($status, $why) = $self->transaction(
		sub {
			foreach (0 .. rand 3)
			{
				my $what = (qw(ring ring timer timer job job job crash))[ rand 8 ];
				my $token = "$self->{number}." . ++$self->{value};
				my $to = int rand($what eq 'ring' ? $ring : 12);
				push @sent, [ $what, $token ];
				$self->want(
					$what eq 'timer'
					? sprintf q{SELECT actorstore.set_timer('timer', '%s', '%s', 'pass', '{"token": "%2$s", "hop": 0}', after => '%d ms')}, $to, $token, rand 1000
					: sprintf q{SELECT actorstore.send('%s', '%s', '%s', '{"token": "%s", "hop": 0}')}, $what eq 'crash' ? 'child' : $what, $to, $what eq 'ring' ? 'pass' : $what, $token);
			}
		});
	$self->note_down('sent', $status, @$_, $status eq 'fail' ? $why : '') foreach @sent;
	usleep(20_000 + rand 50_000);
	return;
}

# Turns that are handled here, put off, or forgotten.
sub serve
{
	my ($self) = @_;
	my $answer = $self->ask("SELECT turn_id, token, coalesce(state::int, 0), messages FROM actorstore.checkout('client $self->{number}', '{job}', 3, lease => '2 s', max_wait => '300 ms')") // return;

	return usleep(50_000) if $answer =~ /ERROR/;
	foreach (split /\n/, $answer)
	{
		my ($turn, $token, $state, $messages) = split /\|/, $_, 4;
		my $what = rand;

		next if $what < 0.03;
		if ($what < 0.1)
		{
			$self->ask("SELECT actorstore.fail($turn, $token, 'not now', '50 ms')");
			next;
		}
		$self->note_down('served', $self->transaction(
			sub {
				$self->want("INSERT INTO handled SELECT 'job', m->'body'->>'token', 0 FROM jsonb_array_elements(\$m\$$messages\$m\$) AS m");
				$self->want("SELECT actorstore.complete($turn, $token, to_jsonb($state + jsonb_array_length(\$m\$$messages\$m\$)))");
			}));
	}
	return;
}

# What this node's part of the bank tells, up to so many changes; says how many there were.
my $follow = q{WITH change AS (INSERT INTO followed SELECT sequence, operation, actor_id, previous_value, previous_version, new_value, new_version FROM actorstore.fetch('bank', 500, '200 ms') RETURNING sequence),
	last AS (SELECT count(*) AS n, max(sequence) AS sequence FROM change) SELECT n, CASE WHEN n > 0 THEN actorstore.ack('bank', sequence) END FROM last};

sub follow
{
	my ($self) = @_;
	my ($status, $why) = TortureClient::outcome($self->ask($follow));

	$self->note_down('followed', $status, $why);
	usleep(100_000) if $status ne 'ok';
	follow_anew(sub { return $self->ask($_[0]); }) if $why =~ /^(55000|42704)$/;
	return;
}

# A subscription that a failover has lost, 55000, or that has been ended here before, begins anew, and so does what was made of it.
sub follow_anew
{
	my ($ask) = @_;
	my $there = $ask->(q{SELECT state FROM actorstore.stat_subscriptions WHERE subscription = 'bank'});

	return if !defined $there || $there !~ /^(lost)?$/;
	foreach ($there ? q{SELECT actorstore.unsubscribe('bank')} : (), q{DELETE FROM followed}, q{SELECT actorstore.subscribe('bank', 'beginning', '{account}')})
	{
		my $answer = $ask->($_);
		return if !defined $answer || $answer =~ /ERROR/;
	}
	return;
}

# ---- At the end ----

# Wait until nothing is under way any more.  Returns what still is: nothing, if all is well.
sub drain
{
	my (@nodes) = @_;
	my $until = time + patience();
	my $busy = join ' UNION ALL ', map { "SELECT '$_ ' || to_jsonb(t)::text FROM actorstore.$_ AS t" } qw(message timer outbox lease supervision_step);
	my $quiet = 0;
	my @busy;

	# What leaves one table may not be in the next one's count yet.
	while ($quiet < 3 && time < $until)
	{
		@busy = map { my $node = $_; map { $node->name . ": $_" } rows($node, 'd', "$busy LIMIT 5") } @nodes;
		$quiet = @busy ? 0 : $quiet + 1;
		usleep(100_000);
	}
	foreach my $node (@nodes)
	{
		my ($said, $complaint) = ('');
		my $ask = sub { (undef, $said, $complaint) = $node->psql('d', "SET ROLE teller; $_[0]", extra_params => [ '-v', 'VERBOSITY=sqlstate' ]); return $complaint || $said; };
		until ($said =~ /^0\|/ || time > $until)
		{
			$ask->($follow);
			follow_anew($ask) if $complaint =~ /55000/;
		}
	}
	return @busy;
}

# What is wrong with the effects of what was sent: a list of sentences.
sub findings
{
	my ($nodes, @rows) = @_;
	my (%found, @wrong);

	foreach my $node (@$nodes)
	{
		$found{$_}++ foreach rows($node, 'd', q{SELECT what || ' ' || token FROM handled
			UNION ALL SELECT 'crash ' || (body->>'token') FROM actorstore.dead_letter WHERE message = 'crash' AND reason = 'exhausted'});
		push @wrong, $node->name . ": $_" foreach wrong_here($node);
	}
	foreach my $row (grep { $_->[0] eq 'sent' } @rows)
	{
		my (undef, $status, $what, $token) = @$row;
		my $n = delete $found{"$what $token"} // 0;
		my $all = $effects{$what};
		push @wrong, "$what $token, $status: $n of $all effects" if $status ne 'unknown' && $n != ($status eq 'ok' ? $all : 0) || $n != 0 && $n != $all;
	}
	push @wrong, map { "$_: never sent" } sort keys %found;
	my @steps = map { rows($_, 'd', q{SELECT token || ' ' || hop FROM handled WHERE what = 'ring'}) } @$nodes;
	push @wrong, 'ring: ' . @steps . ' steps, of which ' . uniq(@steps) . ' differ' if @steps != uniq @steps;
	push @wrong, wrong_trees($nodes);
	return @wrong;
}

# States and table have been written in the same transactions; each change follows from the one before it, and the last is what there is.
sub wrong_here
{
	my ($node) = @_;

	return rows($node, 'd', q{
		SELECT format('%s: %s in states, %s in the table', t, states, n) FROM unnest('{ring,timer,job}'::text[]) AS t,
			LATERAL (SELECT coalesce(sum(value::int), 0) FROM actorstore.actor WHERE actor_type = t) AS s (states), LATERAL (SELECT count(*) FROM handled WHERE what = t) AS h (n)
			WHERE states <> n
		UNION ALL SELECT format('%s of %s died: %s %s', message, actor_type, sqlstate, error) FROM actorstore.dead_letter WHERE message <> 'crash'
		UNION ALL SELECT format('%s: %s does not follow', sequence, actor_id) FROM (SELECT *, lag((new_value, new_version)) OVER (PARTITION BY actor_id ORDER BY sequence) AS before FROM followed) AS f
			WHERE CASE WHEN before IS NULL THEN operation <> 'INSERT' ELSE before <> (previous_value, previous_version) END
		UNION ALL (SELECT format('%s: not what was told last', actor_id) FROM
			(SELECT DISTINCT ON (actor_id) actor_id, new_value, new_version FROM followed ORDER BY actor_id, sequence DESC) AS f FULL JOIN actorstore.actor_account AS a USING (actor_id)
			WHERE (new_value, new_version) IS DISTINCT FROM (a.value, a.version))});
}

# Each crash has exited a child once, and restarted it once: by its own step, or by that of a sibling that it stops and starts with, whose own crash
# came first.
sub wrong_trees
{
	my ($nodes) = @_;
	my (%n, @wrong);

	foreach my $node (@$nodes)
	{
		foreach (rows($node, 'd', q{SELECT 'crash', child, n FROM (SELECT actor_id, count(*) FROM actorstore.dead_letter WHERE message = 'crash' AND reason = 'exhausted' GROUP BY 1) AS d (child, n)
			UNION ALL SELECT event, child_id, count(*) FROM actorstore.supervision_log WHERE event IN ('exited', 'restart', 'gave up') GROUP BY 1, 2
			UNION ALL SELECT 'halted', actor_id, 1 FROM actorstore.halted_actor}))
		{
			my ($event, $child, $count) = split /\|/;
			$n{$child}{$event} += $count;
		}
	}
	foreach my $child (sort keys %n)
	{
		my ($crashes, @became) = map { $n{$child}{$_} // 0 } 'crash', 'exited', 'restart', 'gave up', 'halted';
		my ($exited, $restarts, $given_up, $halted) = @became;
		my $alone = $child < 3 || $child > 8;
		push @wrong, "child $child: $crashes crashes; exited, restarted, given up, halted: @became"
		  if $exited != $crashes || $given_up || $halted || ($alone ? $restarts != $crashes : $restarts > $crashes);
	}
	return @wrong;
}

1;
