# Clients of a cluster that is being tortured: processes of their own, each with
# one psql, which do transactions until a file says that it is over, and write
# down what became of each.  A transaction is ok, fail (it has certainly not
# happened), or unknown (the answer to its COMMIT is missing).

package TortureClient;

use strict;
use warnings;

use ActorstoreTest;
use IPC::Open2;
use List::Util qw(sum0 uniq);
use POSIX ();
use Time::HiRes qw(clock_gettime usleep CLOCK_MONOTONIC);

# A client: node, seed, database, role, file (what became of it), stop (the file
# that ends it), work (the method of a class that does a transaction: 'bank' on so many
# accounts, or 'list' on so many keys at a time that begin with prefix), lock (whether it locks what it reads), number (no
# other client of these keys has the same).  Returns the process.
sub start
{
	my (%options) = @_;
	my $parent = $$;
	my $pid = fork;

	die "cannot fork" if !defined $pid;
	return $pid if $pid;
	eval { run(bless { %options, parent => $parent, value => 0 }, $options{class} // 'TortureClient'); 1 } or warn $@;
	POSIX::_exit($@ ? 1 : 0);
}

sub run
{
	my ($self) = @_;

	srand $self->{seed};
	$SIG{PIPE} = 'IGNORE';
	open $self->{log}, '>', $self->{file} or die "$self->{file}: $!";
	$self->{log}->autoflush;
	until (-e $self->{stop} || getppid() != $self->{parent})
	{
		if (!$self->{psql} && !$self->connect)
		{
			usleep(50_000);
			next;
		}
		my $work = $self->{work};
		$self->$work;
	}
	$self->disconnect;
	return;
}

sub now { return clock_gettime(CLOCK_MONOTONIC); }

sub note_down
{
	my ($self, @fields) = @_;
	print { $self->{log} } join("\t", @fields), "\n";
	return;
}

# ---- The connection ----

sub connect
{
	my ($self) = @_;
	my ($out, $in);

	$self->{psql} = open2($out, $in, 'sh', '-c', 'exec psql -XAt -v VERBOSITY=sqlstate "$0" 2>&1', $self->{node}->connstr($self->{database}) . " user=$self->{role}");
	@$self{qw(in out n)} = ($in, $out, 0);
	$in->autoflush;
	my $answer = $self->ask("SET lock_timeout = '3s'");
	return defined $answer && $answer eq 'SET';
}

sub disconnect
{
	my ($self) = @_;

	return if !$self->{psql};
	close $self->{in};
	close $self->{out};
	kill 'KILL', $self->{psql};
	waitpid $self->{psql}, 0;
	$self->{psql} = undef;
	return;
}

# What a statement says, errors too; undef if the connection was lost meanwhile.
sub ask
{
	my ($self, $sql) = @_;
	my $mark = 'end ' . ++$self->{n};
	my ($answer, $seen) = ('', 0);

	return if !$self->{psql};
	my $complete = eval {
		local $SIG{ALRM} = sub { die "no answer" };
		alarm patience();
		print { $self->{in} } "$sql;\n\\echo $mark\n\\warn $mark\n";
		while ($seen < 2 && defined(my $line = readline $self->{out}))
		{
			if ($line =~ s/\Q$mark\E\n$//) { $seen++; }
			$answer .= $line;
		}
		alarm 0;
		1;
	};
	alarm 0;
	$self->note_down('hung', $sql) if !$complete;
	if (!$complete || $seen < 2 || $answer =~ /connection to the server was lost|server closed the connection|^FATAL/m)
	{
		$self->disconnect;
		return;
	}
	chomp $answer;
	return $answer;
}

# ---- Transactions ----

# $self->transaction(sub { … }) calls it between BEGIN and COMMIT.  It asks by
# $self->want, which dies where a statement fails.
sub transaction
{
	my ($self, $body) = @_;
	my $begun = $self->ask('BEGIN');

	return ('fail', 'no connection') if !defined $begun || $begun ne 'BEGIN';
	if (!eval { $body->(); 1 })
	{
		my $why = $@;
		$self->ask('ROLLBACK');
		return ('fail', $why =~ s/\s+$//r);
	}
	return outcome($self->ask('COMMIT'));
}

sub want
{
	my ($self, $sql) = @_;
	my $answer = $self->ask($sql) // die "lost\n";

	die "$1\n" if $answer =~ /ERROR:\s+(\w{5})/;
	return $answer;
}

# Of a COMMIT, or of a statement that is a transaction.
sub outcome
{
	my ($answer) = @_;

	return ('unknown', 'lost') if !defined $answer;
	$answer =~ s/^WARNING:.*\n?//mg;
	return ($1 eq '08007' ? 'unknown' : 'fail', $1) if $answer =~ /ERROR:\s+(\w{5})/;
	return ('fail', 'rolled back') if $answer =~ /^ROLLBACK$/m;
	return ('ok', $answer);
}

# ---- The bank ----

sub bank
{
	my ($self) = @_;
	my $what = rand;

	return $self->snapshot if $what < 0.1;
	my ($from, $to) = map { 'a' . (1 + int rand $self->{accounts}) } 1 .. 2;
	return if $from eq $to;
	my $amount = 1 + int rand 100;
	my @outcome =
	    $what < 0.4 ? $self->transfer_at_once($from, $to, $amount)
	  : $what < 0.6 ? $self->transfer_by_versions($from, $to, $amount)
	  : $what < 0.7 ? $self->transfer_to_many($from, $to, $amount)
	  :               $self->transfer_by_steps($from, $to, $amount, $what < 0.8);
	usleep(20_000) if $outcome[0] eq 'fail';
	$self->note_down('transfer', $outcome[0], $outcome[0] eq 'fail' ? $outcome[1] : '');
	return;
}

# All accounts at one instant.
sub snapshot
{
	my ($self) = @_;
	my $lock = $self->{lock} ? q{, lock => 'share'} : '';
	my ($status, $answer) = outcome($self->ask("SELECT count(*), sum(value::bigint) FROM actorstore.get_many('account', ARRAY(SELECT 'a' || i FROM generate_series(1, $self->{accounts}) AS i)$lock)"));

	$self->note_down('snapshot', $status, $answer);
	return;
}

# A function on the server, in one statement.
sub transfer_at_once
{
	my ($self, $from, $to, $amount) = @_;
	return outcome($self->ask("SELECT transfer('$from', '$to', $amount)"));
}

# Step by step, with a savepoint and what is undone.
sub transfer_by_steps
{
	my ($self, $from, $to, $amount, $undo) = @_;

	return $self->transaction(
		sub {
			my %balance = map { split /\|/ } split /\n/, $self->want("SELECT actor_id, value FROM actorstore.get_many('account', '{$from,$to}', lock => 'update')");
			if ($undo)
			{
				$self->want($_) foreach 'SAVEPOINT s', "SELECT version FROM actorstore.put('account', '$to', '-1000000')", 'ROLLBACK TO s';
			}
			$self->want(sprintf q{SELECT version FROM actorstore.put('account', '%s', '%d')}, @$_) foreach [ $from, $balance{$from} - $amount ], [ $to, $balance{$to} + $amount ];
		});
}

# Without locks: both must be as they were read.
sub transfer_by_versions
{
	my ($self, $from, $to, $amount) = @_;

	return $self->transaction(
		sub {
			foreach my $change (sort { $a->[0] cmp $b->[0] } [ $from, -$amount ], [ $to, $amount ])
			{
				my ($version, $balance) = split /\|/, $self->want("SELECT version, value FROM actorstore.get('account', '$change->[0]')");
				$self->want(sprintf q{SELECT version FROM actorstore.update_versioned('account', '%s', '%d', %d)}, $change->[0], $balance + $change->[1], $version);
			}
		});
}

# One gives to several, written by one call.
sub transfer_to_many
{
	my ($self, $from, $to, $amount) = @_;
	my @ids = uniq($from, $to, map { 'a' . (1 + int rand $self->{accounts}) } 1 .. 3);
	my $list = join ',', @ids;

	return $self->transaction(
		sub {
			my %balance = map { split /\|/ } split /\n/, $self->want("SELECT actor_id, value FROM actorstore.get_many('account', '{$list}', lock => 'update')");
			$balance{$_} += $amount foreach @ids[ 1 .. $#ids ];
			$balance{$from} -= $amount * $#ids;
			$self->want(sprintf q{SELECT actorstore.put_many('account', '{%s}', '{%s}')}, $list, join ',', @balance{@ids});
		});
}

# ---- Lists ----

# Up to four reads and appends on keys of which new ones are used every so many
# seconds, so that lists stay short.
sub list
{
	my ($self) = @_;
	my $period = int((now() - $self->{started}) / 3);
	my @ops;

	if (($self->{period} // -1) != $period)
	{
		$self->ask(sprintf q{SELECT version FROM actorstore.insert('list', '%s', '[]')}, $_) foreach map { "$self->{prefix}$period.$_" } 1 .. $self->{keys};
		$self->{period} = $period;
	}
	foreach (0 .. rand 4)
	{
		my $key = "$self->{prefix}$period." . (1 + int rand $self->{keys});
		push @ops, rand() < 0.5 ? [ 'read', $key ] : [ 'append', $key, $self->{number} * 1_000_000 + ++$self->{value} ];
	}
	my $begin = now();
	my ($status, $why) = $self->transaction(sub { $self->list_step($_) foreach @ops; });
	my $end = now();
	$self->{period} = -1 if $status eq 'fail' && $why eq 'missing';
	$self->note_down('list', $status, $begin, $end, join ' ', map { join '/', $_->[0], $_->[1], $_->[0] eq 'read' ? join ',', @{ $_->[2] // [] } : $_->[2] } @ops);
	return;
}

sub list_step
{
	my ($self, $op) = @_;
	my ($kind, $key, $value) = @$op;
	my $mode = rand() < 0.5 ? 'share' : 'update';
	my $lock = $self->{lock} ? sprintf(q{, lock => '%s'}, $kind eq 'read' ? $mode : 'update') : '';
	my $answer;

	if ($kind eq 'read')
	{
		$answer = $self->want("SELECT value FROM actorstore.get_many('list', '{$key}'$lock)");
		die "missing\n" if $answer !~ /^\[(.*)\]$/;
		$op->[2] = [ split /, /, $1 ];
		return;
	}
	if ($self->{lock} && $mode eq 'share')
	{
		my ($version, $list) = split /\|/, $self->want("SELECT version, value FROM actorstore.get('list', '$key')");
		die "missing\n" if !defined $list || $list eq '';
		$self->want("SELECT version FROM actorstore.update_versioned('list', '$key', '$list'::jsonb || '$value', $version)");
		return;
	}
	$answer = $self->want("SELECT (actorstore.put('list', '$key', value || '$value')).version FROM actorstore.get_many('list', '{$key}'$lock)");
	die "missing\n" if $answer eq '';
	return;
}

1;
