# Nodes that speak TLS to each other, know each other by name, log in by SCRAM
# as a role without rights: who is refused, what is kept secret, certificates
# renewed under load without a restart; then tests of clusters, run like that.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";

BEGIN { $ENV{ACTORSTORE_TLS} = 1; }
use ActorstoreTest;
use ActorstoreTLS;
use File::Path qw(make_path);
use PostgreSQL::Test::Utils;
use TAP::Parser;
use Test::More;

my @nodes = new_cluster('one', 'two', 'three', { settings => 'max_connections = 100' });
my ($one, $two, $three) = @nodes;
$_->safe_psql('d', 'CREATE TABLE account (id int PRIMARY KEY, amount int); INSERT INTO account SELECT i, 100 FROM generate_series(1, 3) AS i') foreach @nodes;
my $check = q{SELECT ok, round_trip IS NOT NULL, detail FROM actorstore.node_check('two')};
my $session = ActorstoreTest::Session->new($one, 'd');

# Every connection between nodes.
is($session->query(q{SELECT * FROM actorstore.execute_on_nodes('UPDATE account SET amount = amount + 1')}), "one|3\ntwo|3\nthree|3", 'a transaction over all nodes');
is($two->safe_psql('d', q{SELECT DISTINCT s.ssl, s.version, a.usename, u.usesuper FROM pg_stat_activity AS a JOIN pg_stat_ssl AS s USING (pid)
	JOIN pg_user AS u USING (usename) WHERE application_name = 'actorstore peer'}), 't|TLSv1.3|node_role|f', 'is encrypted, by a role that is no superuser');
is($session->query(q{SELECT * FROM actorstore.execute_on_nodes('SELECT FROM pg_authid', '{}', '{two}')}), 'ERROR:  42501', 'which may do no more than it may');

# Who is refused.
my $conninfo = peer_conninfo($two, 'd');
sub elsewhere
{
	my ($what) = @_;
	$one->safe_psql('d', "UPDATE actorstore.node SET conninfo = \$\$$what\$\$ WHERE node_name = 'two'");
	return $session->query($check);
}
# A server that was told to reload does so when it comes to it.
sub becomes
{
	my ($what, $answer) = @_;
	my $until = time + patience();
	my $last;

	do { $last = elsewhere($what) } until $last =~ $answer || time > $until;
	like($last, $answer, $_[2]);
	return;
}
my $directory = tls_directory();
like(elsewhere("$conninfo sslmode=disable"), qr/^f\|f\|node "two" cannot be spoken to: The connection does not use TLS/, 'no TLS');
like(elsewhere($conninfo =~ s/host=two\./host=three./r), qr/^f\|f\|could not connect to node "two": .*server certificate for "two.actorstore.test" does not match host name "three.actorstore.test"/s, 'another name');
like(elsewhere(sprintf '%s port=%d', $conninfo, $three->port), qr/^f\|f\|could not connect to node "two": .*server certificate for "three.actorstore.test" does not match host name/s, 'another server');
issue_authority('stranger');
like(elsewhere("$conninfo sslrootcert=$directory/stranger.crt"), qr/^f\|f\|could not connect to node "two": .*certificate verify failed/s, 'another authority');
like(elsewhere("$conninfo sslrootcert=$directory/none.crt"), qr/^f\|f\|could not connect to node "two": .*root certificate file .* does not exist/s, 'no authority');
append_to_file("$directory/wrong", "*:*:*:*:wrong\n");
chmod 0600, "$directory/wrong";
like(elsewhere("$conninfo passfile=$directory/wrong"), qr/^f\|f\|could not connect to node "two": .*password authentication failed for user "node_role"/s, 'a wrong password');
append_to_file("$directory/open", slurp_file("$directory/passfile"));
chmod 0644, "$directory/open";
like(elsewhere("$conninfo passfile=$directory/open"), qr/^f\|f\|could not connect to node "two": .*no password supplied/s, 'a passfile that others can read');
is(elsewhere("$conninfo sslmode=verify-ca"), 't|t|', 'the conninfo may ask for less');
is(elsewhere($conninfo), 't|t|', 'as it was');

# Certificates in place of passwords.
my $file = issue_certificate('client', 'node_role');
my $hba = slurp_file($two->data_dir . '/pg_hba.conf');
unlink $two->data_dir . '/pg_hba.conf';
$two->append_conf('pg_hba.conf', $hba =~ s/^host .*$/hostssl all all 127.0.0.1\/32 cert/mr);
$two->reload;
$session->query('SET actorstore.peer_lifetime = 0');
becomes($conninfo, qr/^f\|f\|could not connect to node "two": .*connection requires a valid client certificate/s, 'certificates are asked for');
is(elsewhere("$conninfo sslcert=$file.crt sslkey=$file.key"), 't|t|', 'with one');
unlink $two->data_dir . '/pg_hba.conf';
$two->append_conf('pg_hba.conf', $hba);
$two->reload;
becomes($conninfo, qr/^t\|t\|$/, 'passwords again');

# A server's certificate, as a client is shown it.
sub issuer
{
	my ($node) = @_;
	my ($in, $out) = ('', '');
	IPC::Run::run([ 'openssl', 's_client', '-starttls', 'postgres', '-connect', '127.0.0.1:' . $node->port ], '<', \$in, '>&', \$out);
	return $out =~ /^issuer=.*?CN *= *(\w+)/m ? $1 : $out;
}

# Renewed under load: a new authority is trusted beside the old one, each node
# gets a certificate from the new one, the old one is trusted no more.  Every
# transaction opens its connections anew.
my @started = map { $_->safe_psql('d', 'SELECT pg_postmaster_start_time()') } @nodes;
is(issuer($_), 'authority', $_->name . ' before') foreach @nodes;
my @load = map { my $s = ActorstoreTest::Session->new($_, 'd'); $s->query('SET actorstore.peer_lifetime = 0'); $s } @nodes;
$_->safe_psql('d', 'CREATE TABLE stop (); CREATE TABLE done (n int)') foreach @nodes;
foreach my $i (0 .. $#nodes)
{
	$load[$i]->start(sprintf q{
		DO $do$ BEGIN
			WHILE NOT EXISTS (SELECT FROM stop) LOOP
				PERFORM actorstore.execute_on_nodes('UPDATE account SET amount = amount + 1 WHERE id = %d');
				INSERT INTO done VALUES (1);
				COMMIT;
			END LOOP;
		END $do$}, $i + 1);
}
sub goes_on
{
	my ($name) = @_;
	foreach my $node (@nodes)
	{
		my $n = $node->safe_psql('d', 'SELECT count(*) FROM done');
		ok(comes_true($node, 'd', "(SELECT count(*) > $n + 3 FROM done)"), "$name: transactions go on from " . $node->name);
	}
}
goes_on('before');
issue_authority('successor');
trust_authorities('authority', 'successor');
goes_on('the new authority is trusted, too');
foreach my $node (@nodes)
{
	install_certificate($node, 'successor');
	$node->reload;
	my $until = time + patience();
	while (issuer($node) ne 'successor' && time < $until) { select undef, undef, undef, 0.1; }
	is(issuer($node), 'successor', $node->name . ' shows the new certificate');
	goes_on('renewed on ' . $node->name);
}
trust_authorities('successor');
goes_on('the old authority is trusted no more');
$_->safe_psql('d', 'INSERT INTO stop DEFAULT VALUES') foreach @nodes;
is($_->finish, '', 'not one has failed') foreach @load;
is(join(' ', map { $_->safe_psql('d', 'SELECT pg_postmaster_start_time()') } @nodes), join(' ', @started), 'no server has been restarted');
my $sums = join ' ', map { 101 + $_->safe_psql('d', 'SELECT count(*) FROM done') } @nodes;
is($_->safe_psql('d', q{SELECT string_agg(amount::text, ' ' ORDER BY id) FROM account}), $sums, 'each transaction once on ' . $_->name) foreach @nodes;
install_certificate($two, 'authority');
$two->reload;
my $until = time + patience();
while (issuer($two) ne 'authority' && time < $until) { select undef, undef, undef, 0.1; }
like($session->query($check), qr/^f\|f\|could not connect to node "two": .*certificate verify failed/s, 'a certificate by the old one is refused');
$_->quit foreach @load, $session;

# The password is in the passfile and nowhere else.
my $secret = peer_password();
foreach my $node (@nodes)
{
	unlike(slurp_file($node->logfile), qr/$secret/, 'not in the log of ' . $node->name);
	my ($dump, $errors) = ('', '');
	IPC::Run::run([ 'pg_dumpall', '-d', $node->connstr('postgres') ], '>', \$dump, '2>', \$errors) or die $errors;
	ok($dump =~ /CREATE EXTENSION/ && $dump !~ /$secret/, 'not in a dump of ' . $node->name);
	my $sql = join ' UNION ALL ', rows($node, 'd', q{
		SELECT format('SELECT %L AS relation, r::text AS row FROM %s AS r', c.oid::regclass, c.oid::regclass) FROM pg_class AS c
		WHERE relkind IN ('r', 'v', 'p') AND relnamespace IN ('actorstore'::regnamespace, 'pg_catalog'::regnamespace)
			AND relname !~ '^pg_(largeobject|statistic_ext_data|proc|stats_ext)|^pg_settings$|^pg_file_settings$'});
	is($node->safe_psql('d', "SELECT string_agg(DISTINCT relation, ' ') FROM ($sql) AS s WHERE position('$directory/passfile' IN row) > 0 AND relation ~ '^actorstore'"),
		'actorstore.node', 'where the passfile is can be read on ' . $node->name);
	is($node->safe_psql('d', "SET log_statement = none; SET track_activities = off; SELECT count(*) FROM ($sql) AS s WHERE position('$secret' IN row) > 0"), '0', 'what is in it cannot');
}
$_->stop foreach @nodes;

# Other tests, as they are.
foreach my $variable (grep { $ENV{$_} } qw(TESTDIR TESTDATADIR TESTLOGDIR))
{
	$ENV{$variable} .= "/tls";
	make_path($ENV{$variable});
}
foreach my $test (qw(091_peers 092_global))
{
	my $parser = TAP::Parser->new({ exec => [ $^X, "$FindBin::RealBin/$test.pl" ] });
	while (my $result = $parser->next)
	{
		ok($result->is_ok, "$test with TLS: " . $result->description) if $result->is_test;
		diag($result->raw) if $result->is_comment && $result->raw =~ /Failed/;
	}
	ok(!$parser->has_problems, "$test: as many as it has");
}
done_testing();
