# A cluster that is tortured: what its clients work on, somebody who kills and
# stops processes, and how all is well again.

package ActorstoreTorture;

use strict;
use warnings;

use ActorstoreFaults;
use ActorstoreStandby;
use ActorstoreTest;
use ActorstoreWire;
use Exporter 'import';
use List::Util qw(shuffle);
use ListAppend;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(usleep);
use TortureActors;
use TortureClient;

our @EXPORT = qw(torture_cluster start_clients have_done stop_clients torture heal read_history);

# Servers with types account and list, of the role keeper, the role teller that clients use, and
# accounts a1, a2, … of 1,000 each.
sub torture_cluster
{
	my ($accounts, @names) = @_;
	my @nodes = new_cluster(@names, { settings => "max_connections = 150\nmax_prepared_transactions = 150\nrestart_after_crash = on\nwal_level = logical\nmax_worker_processes = 32\nmax_wal_senders = 10\nwal_keep_size = 512MB", plugins => 'actorstore' });

	foreach my $node (@nodes)
	{
		$node->stop;
		move_to_address($node) if !with_tls();
		revive($node);
	}
	wire_nodes(@nodes) if !with_tls();

	foreach my $node (@nodes)
	{
		$node->safe_psql('d', q{
			CREATE ROLE teller LOGIN; CREATE ROLE keeper; GRANT CREATE ON DATABASE d TO keeper;
			DO $$ BEGIN IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'node_role') THEN GRANT keeper, teller TO node_role; END IF; END $$;
			CREATE FUNCTION transfer(source text, target text, amount bigint) RETURNS void LANGUAGE plpgsql AS $$
			DECLARE
				a actorstore.actor;
			BEGIN
				FOR a IN SELECT * FROM actorstore.get_many('account', ARRAY[source, target], lock => 'update') LOOP
					PERFORM actorstore.put('account', a.actor_id, to_jsonb(a.value::bigint + CASE a.actor_id WHEN target THEN amount ELSE -amount END));
				END LOOP;
			END $$});
	}
	$nodes[0]->safe_psql('d', q{SET ROLE keeper;
		SELECT actorstore.create_type(t) FROM unnest('{account,list}'::text[]) AS t;
		SELECT actorstore.grant_type(t, 'teller', '{read,write,send,ask}') FROM unnest('{account,list}'::text[]) AS t});
	make_actors(@nodes);
	$nodes[0]->safe_psql('d', "SET ROLE teller; SELECT actorstore.put_many('account', array_agg('a' || i), array_agg('1000'::jsonb)) FROM generate_series(1, $accounts) AS i");
	if (!with_tls())
	{
		make_standby($_, \&revive) or die 'no standby of ' . $_->name foreach @nodes;
	}
	return @nodes;
}

# ---- Clients ----

# So many clients, spread over the nodes: their processes, and the files they write.
sub start_clients
{
	my ($nodes, $count, %options) = @_;
	my $directory = PostgreSQL::Test::Utils::tempdir('clients');
	my $clients = { stop => "$directory/stop", pids => [], files => [] };

	foreach my $n (1 .. $count)
	{
		push @{ $clients->{files} }, "$directory/$n";
		push @{ $clients->{pids} }, TortureClient::start(
			node => $nodes->[ $n % @$nodes ], database => 'd', role => 'teller', number => ($options{numbers} // 0) + $n, started => TortureClient::now(),
			file => "$directory/$n", stop => $clients->{stop}, lock => 1, %options, seed => $options{seed} + $n);
	}
	return $clients;
}

# Wait until they have done so much of something.
sub have_done
{
	my ($clients, $what, $count) = @_;
	my $until = time + patience();
	my $done = 0;

	while ($done < $count && time < $until)
	{
		$done = grep { /^$what\tok\t/ } map { split /\n/, slurp_file($_) } grep { -e } @{ $clients->{files} };
		usleep(100_000);
	}
	cmp_ok($done, '>=', $count, "$what: $count done");
	return;
}

# They end what they have begun.  Returns what they have written, a list of rows.
sub stop_clients
{
	my ($clients) = @_;

	append_to_file($clients->{stop}, '');
	foreach my $pid (@{ $clients->{pids} })
	{
		waitpid $pid, 0;
		is($?, 0, 'a client ends well') if $?;
	}
	return map { map { [ split /\t/, $_, -1 ] } split /\n/, slurp_file($_) } @{ $clients->{files} };
}

# Rows of work on lists as a history for ListAppend.
sub read_history
{
	my (@history);

	foreach my $row (grep { $_->[0] eq 'list' } @_)
	{
		my (undef, $status, $begin, $end, $ops) = @$row;
		push @history, { status => $status, begin => $begin, end => $end,
			ops => [ map { my ($kind, $key, $what) = split m{/}, $_, -1; [ $kind, $key, $kind eq 'read' ? [ split /,/, $what ] : $what ] } split / /, $ops ] };
	}
	return \@history;
}

# ---- Torture ----

sub postmaster
{
	my ($node) = @_;

	open my $file, '<', $node->data_dir . '/postmaster.pid' or return undef;
	my $line = readline $file;
	return defined $line && $line =~ /^(\d+)$/ ? $1 : undef;
}

# A server's processes with a title like this.
sub processes
{
	my ($node, $title) = @_;
	my $postmaster = postmaster($node) // return;
	my @found;

	foreach my $directory (glob '/proc/[0-9]*')
	{
		my ($stat, $command) = map { my $text; if (open my $file, '<', "$directory/$_") { local $/; $text = readline $file; } $text // '' } qw(stat cmdline);
		my ($pid, $parent) = $stat =~ /^(\d+) \(.*\) \S (\d+) /s or next;
		push @found, $pid if $parent == $postmaster && $command =~ $title;
	}
	return @found;
}

my %faults = (
	'a session is killed' => sub { my ($node) = @_; return hit($node, 'KILL', qr/^postgres: .* d .*(idle|SELECT|COMMIT|PREPARE|BEGIN|waiting)/); },
	'a worker is killed' => sub { my ($node) = @_; return hit($node, 'KILL', qr/^postgres: .*actorstore (?!peer)/); },
	'a session is terminated' => sub { my ($node) = @_; return hit($node, 'TERM', qr/^postgres: .* d .*(idle|SELECT|COMMIT|PREPARE|BEGIN|waiting)/); },
	'a process stands still' => sub {
		my ($node) = @_;
		my $pid = hit($node, 'STOP', qr/^postgres: /) or return 0;
		usleep(200_000 + rand 1_500_000);
		kill 'CONT', $pid;
		return $pid;
	},
	'a server is killed' => sub { my ($node) = @_; kill 'KILL', postmaster($node) // return 0; usleep(rand 500_000); return revive($node); },
	'a server is stopped at once' => sub { my ($node) = @_; kill 'QUIT', postmaster($node) // return 0; usleep(rand 500_000); return revive($node); },
	'a disk is full' => sub {
		my ($node) = @_;
		append_to_file("$node->{disk}/full", '');
		usleep(100_000 + rand 1_000_000);
		unlink "$node->{disk}/full";
		return stands($node);
	},
	'a clock jumps' => sub { my ($node) = @_; set_clock($node, int(rand 20) - 10); return 1; });

my %faults_of_links = (
	'two nodes are cut off' => sub { return between(@_, 'cut'); },
	'two nodes hear nothing' => sub { return between(@_, 'hole', (qw(there back both))[ rand 3 ]); });

my %faults_of_groups = ('a standby takes over' => sub { my ($node) = @_; return take_over($node, \&revive); });

# Only some links are wired, and lead to the standby: those of TLS go without a detour.
%faults = (%faults, %faults_of_links, %faults_of_groups) if !with_tls();

sub between
{
	my ($node, $other, @what) = @_;

	wire_between($node, $other, @what);
	usleep(100_000 + rand 1_500_000);
	wire_between($node, $other, 'pass');
	return 1;
}

sub hit
{
	my ($node, $signal, $title) = @_;
	my ($pid) = shuffle processes($node, $title);

	return 0 if !$pid || !kill $signal, $pid;
	return $pid;
}

# A server goes on, or is started again if it has gone.
sub stands
{
	my ($node) = @_;
	my $until = time + patience();

	while (time < $until)
	{
		my $postmaster = postmaster($node);
		return revive($node) if !$postmaster || !kill 0, $postmaster;
		my ($status) = eval { $node->psql('postgres', 'SELECT') };
		return 1 if defined $status && $status == 0;
		usleep(100_000);
	}
	die $node->name . ' does not come back';
}

# Start a server whose processes may not all have gone yet.
sub revive
{
	my ($node) = @_;
	my $until = time + patience();
	my %environment = fault_environment($node, 'disk', 'clock');

	local @ENV{ keys %environment } = values %environment;

	while (1)
	{
		$node->{_pid} = undef;	# it is not what the module believes
		return 1 if $node->start(fail_ok => 1);
		die $node->name . ' does not start' if time > $until;
		usleep(100_000);
	}
}

# For so many seconds, and till each kind of fault has been done, one after the
# other; only those of which ACTORSTORE_TORTURE_FAULTS is a pattern.  Returns how often which.
sub torture
{
	my ($nodes, $seconds) = @_;
	my $until = time + $seconds;
	my $give_up = $until + patience();
	my $wanted = $ENV{ACTORSTORE_TORTURE_FAULTS} // '';
	my %done = map { $_ => 0 } grep { /$wanted/ } keys %faults;

	while (time < $until || grep { !$_ } values %done)
	{
		foreach my $fault (shuffle sort keys %done)
		{
			my ($node, $other) = shuffle @$nodes;
			$done{$fault}++ if $faults{$fault}->($node, $other);
			usleep(200_000 + rand 1_500_000);
			last if time >= $until && !grep { !$_ } values %done;
		}
		last if time > $give_up;
	}
	return \%done;
}

# All servers are up, their clocks are right, nobody works any more; the resolvers
# look twice.  Then nothing is prepared or in doubt.
sub heal
{
	my (@nodes) = @_;
	my $nobody = q{NOT EXISTS (SELECT FROM pg_stat_activity WHERE datname = 'd' AND (usename = 'teller' OR application_name = 'actorstore peer'))};

	set_clock($_, 0) foreach @nodes;
	ok((grep { is_up_without($_, 'd', 0) } @nodes) == @nodes, 'all servers are up');
	ok(comes_true($_, 'd', $nobody), 'nobody works on ' . $_->name) foreach @nodes;
	foreach my $pass (1 .. 2)
	{
		$_->safe_psql('d', 'SELECT actorstore.resolve_in_doubt()') foreach @nodes;
	}
	foreach my $node (@nodes)
	{
		is($node->safe_psql('d', q{SELECT string_agg(gid, ' ') FROM pg_prepared_xacts}), '', 'nothing is prepared on ' . $node->name);
		is($node->safe_psql('d', q{SELECT string_agg(concat_ws(' ', role, gid, state), ' ') FROM actorstore.in_doubt}), '', 'or in doubt');
	}
	return;
}

1;
