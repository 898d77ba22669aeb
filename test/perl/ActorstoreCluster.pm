# The clusters of the TAP tests: PostgreSQL::Test::Cluster, made cheaper where starting a process is dear.
#
# initdb runs once for all tests of a run; each cluster is a copy of what it made (as in PostgreSQL 17 and later, but also with
# options, and with a system identifier of its own: the extension tells a database from its copy by that).
#
# psql(), and with it safe_psql(), opens a connection (ActorstoreClient) instead of starting psql; psql is still there for what
# only it can do.  A new backend is the dearest part of a small query: calls share one for each database, with DISCARD ALL in
# between, unless they look at sessions or do what a session would be in the way of; kept => 0 asks for a new one, kept => 1 for
# the shared one in any case.  poll_query_until() asks again and again over one connection.

package ActorstoreCluster;

use strict;
use warnings;

use parent qw(PostgreSQL::Test::Cluster);

use ActorstoreClient;
use ActorstoreTLS ();
use Digest::MD5 qw(md5_hex);
use Fcntl qw(:flock);
use File::Path qw(rmtree);
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils ();	# its functions have names of methods
use Test::More ();
use Time::HiRes qw(gettimeofday usleep);

# Asking pg_config once for each server is enough.
my %version;

sub _set_pg_version
{
	my ($self) = @_;
	my $where = $self->{_install_path} // '';

	$self->SUPER::_set_pg_version() unless $version{$where};
	$version{$where} //= $self->{_pg_version};
	$self->{_pg_version} = $version{$where};
	return;
}

sub init
{
	my ($self, %params) = @_;
	my $run = \&PostgreSQL::Test::Utils::system_or_bail;

	no warnings 'redefine';
	local *PostgreSQL::Test::Utils::system_or_bail = sub {
		return $self->_copy_of($run, @_) if $_[0] =~ m{(^|/)initdb$};
		return if $_[0] eq $ENV{PG_REGRESS} && $_[1] eq '--config-auth';	# does something on Windows only
		return $run->(@_);
	};
	$self->SUPER::init(%params);

	# 18's library gives it to older servers, too.
	$self->adjust_conf('postgresql.conf', 'autovacuum_worker_slots', undef) if $self->pg_version < 18;
	return;
}

# Instead of initdb with these arguments.
sub _copy_of
{
	my ($self, $run, @initdb) = @_;
	my $directory = $self->data_dir;
	my $initdb = join ' ', map { $_ eq $directory ? '' : $_ } $self->{_install_path} // '', @initdb;
	my $template = "$PostgreSQL::Test::Utils::tmp_check/template-" . md5_hex($initdb);

	# Other tests may be about to make the same one.
	open my $lock, '>', "$template.lock" or die "$template.lock: $!";
	flock $lock, LOCK_EX or die "$template.lock: $!";
	if (!-d $template)
	{
		rmtree("$template.new");
		$run->(map { $_ eq $directory ? "$template.new" : $_ } @initdb);
		rename "$template.new", $template or die "$template: $!";
	}
	close $lock;
	system('cp', '-RPp', $template, $directory) == 0 or die "cannot copy $template to $directory";
	_give_identifier($directory);
	return;
}

# A system identifier made as initdb does, in pg_control, and in the one segment of WAL there is.
sub _give_identifier
{
	my ($directory) = @_;
	my ($seconds, $microseconds) = gettimeofday();
	my $identifier = pack 'Q', $seconds << 32 | $microseconds << 12 | $$ & 0xFFF;
	my ($segment) = glob "$directory/pg_wal/" . '[0-9A-F]' x 24;
	my $control = _read("$directory/global/pg_control", 8192);
	my $page = _read($segment, 32);	# XLogLongPageHeaderData: has it at 24
	my $end = _checked($control);

	die "$segment: another identifier" if substr($page, 24, 8) ne substr($control, 0, 8);
	substr($control, 0, 8) = $identifier;
	substr($control, $end, 4) = pack 'L', _crc32c(substr($control, 0, $end));
	_write("$directory/global/pg_control", 0, $control);
	_write($segment, 24, $identifier);
	return;
}

# How much of pg_control its checksum is of, which then follows: another number in each major version.
sub _checked
{
	my ($control) = @_;

	foreach my $end (map { 4 * $_ } 50 .. 127)
	{
		return $end if unpack('L', substr $control, $end, 4) == _crc32c(substr $control, 0, $end);
	}
	die 'pg_control has no checksum';
}

sub _crc32c
{
	my ($bytes) = @_;
	my $crc = 0xFFFFFFFF;

	foreach (unpack 'C*', $bytes)
	{
		$crc ^= $_;
		$crc = $crc & 1 ? $crc >> 1 ^ 0x82F63B78 : $crc >> 1 foreach 1 .. 8;
	}
	return $crc ^ 0xFFFFFFFF;
}

sub _read
{
	my ($path, $length) = @_;

	open my $file, '<:raw', $path or die "$path: $!";
	(read($file, my $bytes, $length) // 0) == $length or die "$path: too short";
	return $bytes;
}

sub _write
{
	my ($path, $offset, $bytes) = @_;

	open my $file, '+<:raw', $path or die "$path: $!";
	seek $file, $offset, 0;
	print $file $bytes;
	close $file or die "$path: $!";
	return;
}

# ---- Queries ----

# Who says one of these sees, wants to see or shall not see sessions, or what these leave behind when they end.
my $of_sessions = qr/\b(?:DATABASE|TABLESPACE|SYSTEM|EXTENSION|LOAD|SUBSCRIPTION|PUBLICATION|(?:ALTER|DROP)\s+(?:ROLE|USER)|REASSIGN|LISTEN|VACUUM
	|pg_(?:stat\w*|reload_conf|backend_pid|terminate_backend|cancel_backend|locks|prepared_xacts|create_\w*slot|drop_\w*slot|export_snapshot))\b/xi;

# The sessions that are kept, by process, server and database.
my %kept;

# The parameters of psql() that it need not be psql for.
my %known = map { $_ => 1 } qw(stdout stderr on_error_stop on_error_die extra_params kept);

sub psql
{
	my ($self, $database, $sql, %params) = @_;
	$sql = ActorstoreTLS::owned($self, $database, $sql);
	my ($stdout, $stderr) = @params{ 'stdout', 'stderr' };
	my @extra = @{ $params{extra_params} // [] };
	my $is_known = !(grep { !$known{$_} } keys %params)
	  && (!@extra || "@extra" eq '-v VERBOSITY=sqlstate')
	  && !(defined $stdout && defined $stderr && $stdout == $stderr);
	my $statements = $is_known ? _statements($sql) : undef;
	my $keep = $params{kept} // $sql !~ $of_sessions;
	$self->end_kept if !$keep;
	my $client = $statements && $self->_is_usual($database) ? $keep ? $self->_kept($database) : $self->_connect($database) : undef;

	return $self->SUPER::psql($database, $sql, %params) unless $client;

	my $stop = $params{on_error_stop} // 1;
	my ($status, $out, $err) = $client->run($statements, stop => $stop, sqlstate => @extra > 0);
	if ($keep && $status != 2)
	{
		$client->run([ [ 'ROLLBACK', 1 ], [ 'DISCARD ALL', 2 ] ]);
		$kept{ $self->_key($database) } = $client;
	}
	else
	{
		$client->close;
	}
	$self->end_kept if $sql =~ /\bALTER\s+(?:DATABASE|ROLE|USER)\b/i;	# the settings of new sessions

	print $out unless $stdout || wantarray;
	print STDERR $err unless $stderr || wantarray;
	chomp($out, $err);
	$$stdout = $out if $stdout;
	$$stderr = $err if $stderr;
	if ($status && $params{on_error_die})
	{
		my $command = join ' ', $self->installed_command('psql'), '-XAtq', '-d', $self->connstr($database), '-f', '-',
		  $stop ? ('-v', 'ON_ERROR_STOP=1') : (), @extra;
		die $status == 2
		  ? "connection error: '$err'\nwhile running '$command'"
		  : "error running SQL: '$err'\nwhile running '$command' with sql '$sql'";
	}
	return wantarray ? ($status, $out, $err) : $status;
}

# A process forked off has sessions of its own; the environment may ask for other settings.
sub _key
{
	my ($self, $database) = @_;
	return join ' ', $$, $self->port, $database, $ENV{PGUSER} // '', $ENV{PGOPTIONS} // '', $ENV{PGAPPNAME} // '';
}

# The session that is kept for a database, if it is still there, else a new one.
sub _kept
{
	my ($self, $database) = @_;
	my $client = delete $kept{ $self->_key($database) };

	return $client if $client && $client->is_quiet;
	$client->close if $client;
	return $self->_connect($database);
}

# End the sessions that are kept, of all servers, where one would be in the way: some have connections to other servers.
sub end_kept
{
	foreach my $key (grep { /^$$ / } keys %kept)
	{
		delete($kept{$key})->close;
	}
	return;
}

# What happens to a server happens to new sessions.
foreach my $method (qw(stop restart reload promote kill9 teardown_node))
{
	no strict 'refs';
	*$method = sub {
		my ($self, @params) = @_;
		$self->end_kept;
		my $super = "SUPER::$method";
		return $self->$super(@params);
	};
}

# The pauses are short at first.
sub poll_query_until
{
	my ($self, $database, $sql, $expected) = @_;
	my $statements = _statements($sql);
	my $until = time + $PostgreSQL::Test::Utils::timeout_default;
	my $pause = 2_000;
	my ($client, $status, $out, $err);

	# psql would print a tag for other statements.
	return $self->SUPER::poll_query_until($database, $sql, $expected)
	  if !$statements || !$self->_is_usual($database) || grep { $_->[0] !~ /\A(?:SELECT|WITH|VALUES|TABLE)\b/ } @$statements;

	$self->end_kept if $sql =~ $of_sessions;
	$expected //= 't';
	while (1)
	{
		($status, $out, $err) = (2, '', 'no connection');
		$client //= $self->_connect($database);
		($status, $out, $err) = $client->run($statements) if $client;
		chomp($out, $err);
		last if $out eq $expected && $err eq '' || time > $until;
		if ($client && $status == 2)
		{
			$client->close;
			undef $client;
		}
		usleep($pause);
		$pause = $pause < 50_000 ? 2 * $pause : 100_000;
	}
	$client->close if $client;
	return 1 if $out eq $expected && $err eq '';

	Test::More::diag("poll_query_until timed out executing this query:\n$sql\nexpecting this output:\n$expected\n"
	  . "last actual query output:\n$out\nwith stderr:\n$err");
	return 0;
}

sub _statements
{
	my ($sql) = @_;

	return unless defined $sql;
	utf8::downgrade($sql, 1) or utf8::encode($sql);
	return ActorstoreClient::statements($sql);
}

# Can the server be reached without what libpq knows of addresses, and of the environment?
sub _is_usual
{
	my ($self, $database) = @_;

	local %ENV = $self->_get_env();
	return defined $database && $self->host =~ m{^/} && !grep { /^PG(?!HOST$|PORT$|DATABASE$|USER$|APPNAME$|DATA$|OPTIONS$|CTLTIMEOUT$|_)/ } keys %ENV;
}

# A session as psql would open; undef if there is none to be had.
sub _connect
{
	my ($self, $database) = @_;

	local %ENV = $self->_get_env();
	return ActorstoreClient->new(
		$self->host . '/.s.PGSQL.' . $self->port,
		database => $database,
		user => $ENV{PGUSER},
		application_name => $ENV{PGAPPNAME} // 'psql',
		defined $ENV{PGOPTIONS} ? (options => $ENV{PGOPTIONS}) : ());
}

1;
