# Who is taken in as a node: a server of a version that the others understand, whose clock is right. Anybody else is refused
# before anything has changed on either side.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";

BEGIN { delete $ENV{ACTORSTORE_TLS}; }	# the conninfos are made here, and certificates have times of their own
use ActorstoreFaults;
use ActorstoreTest;
use IO::Socket::INET;
use POSIX ();
use PostgreSQL::Test::Utils;
use Test::More;

my $settings = 'max_worker_processes = 16';
my ($one) = new_cluster('one', { settings => $settings });
my $two = new_node('two', settings => "max_prepared_transactions = 10\n$settings");
new_database_with_actors($two, 'd');

sub state_of { my ($node) = @_; return $node->safe_psql('d', q{SELECT (SELECT count(*) FROM actorstore.node), (SELECT max(epoch) FROM actorstore.epoch)}); }
my %before = map { $_->name => state_of($_) } $one, $two;

# What add_node() says: its SQLSTATE, message, detail and hint.
sub join_by
{
	my ($conninfo, @first) = @_;
	my ($status, undef, $stderr) = $one->psql('d', join('; ', @first, "SELECT actorstore.add_node('two', \$\$$conninfo\$\$)"),
		on_error_stop => 1, extra_params => [ '-v', 'VERBOSITY=verbose' ]);
	return '00000' if $status == 0;
	return join "\n", map { s/^psql:<stdin>:\d+: ERROR:\s+//r } grep { !/^(?:LOCATION|CONTEXT)/ } split /\n/, $stderr;
}

sub nothing_changed
{
	my ($name) = @_;
	is(state_of($_), $before{ $_->name }, "$name: nothing has changed on " . $_->name) foreach $one, $two;
	return;
}

# ---- Versions of the extension ----

# A database that says that it has another version, and can do nothing else.
sub pretend
{
	my ($version) = @_;

	$two->psql('postgres', 'DROP DATABASE IF EXISTS pretender');
	$two->safe_psql('postgres', "CREATE DATABASE pretender TEMPLATE template0 ENCODING 'UTF8'");
	$two->safe_psql('pretender', qq{
		CREATE SCHEMA actorstore;
		CREATE FUNCTION actorstore.local_identity(OUT node_uuid uuid, OUT node_name text, OUT incarnation bigint, OUT extension_version text, OUT in_recovery boolean, OUT max_prepared_transactions int)
			LANGUAGE sql AS \$\$ SELECT NULL::uuid, NULL::text, 0::bigint, '$version'::text, false, 10 \$\$;
	});
	return join_by($two->connstr('pretender'));
}
my ($major, $minor) = $one->safe_psql('d', q{SELECT extversion FROM pg_extension WHERE extname = 'actorstore'}) =~ /^(\d+)\.(\d+)/;

foreach my $version ($major . '.' . ($minor + 2), ($major + 1) . ".$minor", 'x')
{
	like(pretend($version), qr/^55000: node "two" cannot be spoken to\nDETAIL:  It has version \Q$version\E of the extension\.\nHINT:  .*\bone minor version/, "version $version is refused");
}
unlike(pretend($major . '.' . ($minor + 1)), qr/version/, 'the next one is spoken to');
nothing_changed('versions of the extension');

# ---- Versions of the server ----

# A server that begins as one of that version would, and closes the connection at the first command; what add_node() says of it,
# and what it was asked.
sub server_of
{
	my ($version) = @_;
	my $listener = IO::Socket::INET->new(LocalAddr => '127.0.0.1', Listen => 1) or die "$!";
	my $file = PostgreSQL::Test::Utils::tempdir('server') . '/asked';
	my $pid = fork // die "$!";

	if ($pid == 0)
	{
		alarm 60;
		my $client = $listener->accept;
		my $message = sub { my ($type, $body) = @_; return $type . pack('N', 4 + length $body) . $body; };
		sysread $client, my $startup, 65536;
		my %parameters = (server_version => $version, server_encoding => 'UTF8', client_encoding => 'UTF8', in_hot_standby => 'off', default_transaction_read_only => 'off', standard_conforming_strings => 'on');
		syswrite $client, $message->('R', pack 'N', 0) . join('', map { $message->('S', "$_\0$parameters{$_}\0") } sort keys %parameters) . $message->('Z', 'I');
		sysread $client, my $command, 65536;
		append_to_file($file, $command // '');
		POSIX::_exit(0);
	}
	my $said = join_by('host=127.0.0.1 sslmode=disable gssencmode=disable dbname=d user=postgres port=' . $listener->sockport);
	close $listener;
	waitpid $pid, 0;
	return ($said, slurp_file($file) =~ /local_identity/ ? 'asked' : 'not asked');
}
my ($server) = $one->safe_psql('d', 'SHOW server_version_num') =~ /^(\d\d)/;
foreach my $version ($server - 2, $server + 2)
{
	next if $version < 14;	# says less when it begins
	my ($said, $asked) = server_of("$version.1");
	like($said, qr/^55000: node "two" cannot be spoken to\nDETAIL:  It runs PostgreSQL $version\.\nHINT:  .*\bone major version/, "PostgreSQL $version is refused");
	is($asked, 'not asked', 'at once');
}
foreach my $version ($server - 1, $server + 1)
{
	my ($said, $asked) = server_of("$version.1");
	like($said, qr/^08/, "PostgreSQL $version is not refused for that");
	is($asked, 'asked', 'but asked who it is');
}
nothing_changed('versions of the server');

# ---- Clocks ----

$two->stop;
with_clock($two);
foreach my $offset (3600, -3600, 20, -20)
{
	my ($which, $least) = ($offset > 0 ? 'ahead' : 'behind', abs($offset) - 10);

	set_clock($two, $offset);
	my $said = join_by($two->connstr('d'));
	like($said, qr/^55000: the clocks of the two servers differ by [\d.]+ s\nDETAIL:  That of node "two" is $which, by more than actorstore\.max_clock_skew \(5 s\) allows\.\nHINT:  .*NTP.*actorstore\.max_clock_skew/, "by $offset s: refused");
	my ($by) = $said =~ /differ by ([\d.]+) s/;
	cmp_ok(abs($by - abs $offset), '<', 5, "by $offset s: by how much is said");
}
nothing_changed('clocks');
like(join_by($two->connstr('d'), q{SET actorstore.max_clock_skew = '10s'}), qr/^55000: .*\n.*\(10 s\)/, 'more than is allowed instead');
nothing_changed('nor by that');
is(join_by($two->connstr('d'), 'SET actorstore.max_clock_skew = 0'), '00000', 'one that is not, where clocks are not looked at');

$_->stop foreach $two, $one;
done_testing();
