# Clusters whose nodes speak to each other as they should where the network is
# not theirs: TLS with certificates that are verified in full (host names, too),
# passwords by SCRAM from a passfile, a role that is no superuser.  With
# ACTORSTORE_TLS=1 in the environment all clusters that new_cluster makes are
# such ones.  The tests' own sessions go on through the Unix socket.

package ActorstoreTLS;

use strict;
use warnings;

use Exporter 'import';
use PostgreSQL::Test::Utils;

our @EXPORT = qw(with_tls tls_settings admit_peers peer_conninfo owned declare_loosely issue_authority issue_certificate install_certificate trust_authorities tls_directory peer_password);

# Not to be found anywhere but in the passfile.
my $password = 'vAHxrgGW6SLi2NTE';
my $directory;

sub with_tls { return $ENV{ACTORSTORE_TLS} ? 1 : 0; }
sub peer_password { return $password; }

sub openssl
{
	my (@arguments) = @_;
	my $output;

	IPC::Run::run([ 'openssl', @arguments ], '>&', \$output) or die "openssl @arguments: $output";
	return;
}

# Where the authority, the passfile and the certificates are.
sub tls_directory
{
	return $directory if $directory;
	$directory = PostgreSQL::Test::Utils::tempdir('tls');
	append_to_file("$directory/passfile", "*:*:*:*:$password\n");
	chmod 0600, "$directory/passfile" or die;
	issue_authority('authority');
	trust_authorities('authority');
	return $directory;
}

# A key, and a certificate that says that it may sign others.
sub issue_authority
{
	my ($name) = @_;
	my $file = tls_directory() . "/$name";

	openssl('req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-days', '30',
		'-subj', "/CN=$name", '-keyout', "$file.key", '-out', "$file.crt");
	return;
}

# A key, and a certificate for a name, by an authority: $directory/$file.crt and .key.
sub issue_certificate
{
	my ($file, $subject, $authority) = @_;

	$file = tls_directory() . "/$file";
	$authority = tls_directory() . '/' . ($authority // 'authority');
	unlink "$file.ext";
	append_to_file("$file.ext", "subjectAltName = DNS:$subject\n");
	openssl('req', '-new', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-subj', "/CN=$subject", '-keyout', "$file.key", '-out', "$file.csr");
	openssl('x509', '-req', '-in', "$file.csr", '-CA', "$authority.crt", '-CAkey', "$authority.key", '-CAcreateserial', '-days', '30', '-extfile', "$file.ext", '-out', "$file.crt");
	chmod 0600, "$file.key" or die;
	return $file;
}

# Whose certificates the nodes accept.  A file is always whole: a connection may
# be opened at any moment.
sub trust_authorities
{
	my (@names) = @_;
	my $file = tls_directory() . '/trusted.crt';

	unlink "$file.new";
	append_to_file("$file.new", slurp_file(tls_directory() . "/$_.crt")) foreach @names;
	rename "$file.new", $file or die;
	return;
}

# Give a server a new certificate.  It reads it when it is told to reload.
sub install_certificate
{
	my ($node, $authority) = @_;
	my $file = issue_certificate($node->name, $node->name . '.actorstore.test', $authority);

	foreach my $kind (qw(key crt))
	{
		my $target = $node->data_dir . "/server.$kind";
		unlink "$target.new";
		append_to_file("$target.new", slurp_file("$file.$kind"));
		chmod 0600, "$target.new" or die;
		rename "$target.new", $target or die;
	}
	return;
}

# Before the server's first start.
sub tls_settings
{
	my ($node) = @_;

	install_certificate($node);
	unlink $node->data_dir . '/pg_hba.conf';
	$node->append_conf('pg_hba.conf', "local all all trust\nlocal replication all trust\nhost all all 127.0.0.1/32 scram-sha-256\n");
	$node->append_conf('postgresql.conf', "listen_addresses = '127.0.0.1'\nssl = on\nssl_ca_file = '" . tls_directory() . "/trusted.crt'\n"
		  . "password_encryption = 'scram-sha-256'\nactorstore.require_tls = on");
	return;
}

# The role that nodes log in as may execute their functions, and what the tests
# let them do to tables; nothing more.  The log does not see its password.
#
# A superuser's type would belong to that role on the other nodes: so types belong
# to actor_owner, for whom it may act, and who may do to tables what it may.
my %admitted;

sub admit_peers
{
	my ($node, $database) = @_;

	return if !with_tls();
	delete $admitted{ $node->port . " $database" };	# what follows calls create_type() itself
	$node->safe_psql($database, qq{
		SET log_statement = none;
		DO \$do\$
		DECLARE
			f regprocedure;
			parameters text;
			arguments text;
		BEGIN
			IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'node_role') THEN
				CREATE ROLE actor_owner;
				CREATE ROLE node_role LOGIN NOSUPERUSER PASSWORD '$password' IN ROLE actor_owner;
			END IF;
			EXECUTE format('GRANT CREATE ON DATABASE %I TO actor_owner', current_database());
			SELECT pg_get_function_arguments(oid), (SELECT string_agg('\$' || n, ', ' ORDER BY n) FROM generate_series(1, pronargs) AS n)
			INTO parameters, arguments FROM pg_proc WHERE oid = 'actorstore.create_type'::regproc;
			EXECUTE format('CREATE OR REPLACE FUNCTION public.create_as_owner(%s) RETURNS void LANGUAGE sql SECURITY DEFINER AS \$f\$SELECT actorstore.create_type(%s)\$f\$', parameters, arguments);
			ALTER FUNCTION public.create_as_owner OWNER TO actor_owner;
			EXECUTE format('CREATE OR REPLACE FUNCTION public.owned_create_type(%s) RETURNS void LANGUAGE sql AS \$f\$SELECT CASE WHEN rolsuper THEN public.create_as_owner(%s) ELSE actorstore.create_type(%s) END FROM pg_roles WHERE rolname = current_user\$f\$',
				parameters, arguments, arguments);
			FOR f IN SELECT oid FROM pg_proc WHERE pronamespace = 'actorstore'::regnamespace AND proname LIKE 'local\\_%' LOOP
				EXECUTE format('GRANT EXECUTE ON FUNCTION %s TO node_role', f);
			END LOOP;
		END \$do\$;
		GRANT CREATE ON SCHEMA public TO node_role;
		ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT ALL ON TABLES TO actor_owner;
		ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT ALL ON SEQUENCES TO actor_owner;
		GRANT ALL ON ALL TABLES IN SCHEMA public TO actor_owner;
		GRANT ALL ON ALL SEQUENCES IN SCHEMA public TO actor_owner;
	});
	$admitted{ $node->port . " $database" } = 1;
	return;
}

# A statement of a superuser's that declares types, so that these belong to actor_owner.
sub owned
{
	my ($node, $database, $sql) = @_;

	$sql =~ s/\bactorstore\.create_type\(/public.owned_create_type(/g if $admitted{ $node->port . " $database" };
	return $sql;
}

# Likewise a type that a superuser's first write would declare.
sub declare_loosely
{
	my ($node, $database, $type) = @_;

	return if !with_tls();
	$node->safe_psql($database, "SET ROLE actor_owner; SELECT actorstore.insert('$type', 'first', '1'), actorstore.delete('$type', 'first')");
	return;
}

# How other nodes reach a database of a cluster.
sub peer_conninfo
{
	my ($node, $database) = @_;

	return $node->connstr($database) if !with_tls();
	return sprintf 'host=%s.actorstore.test hostaddr=127.0.0.1 port=%d dbname=%s user=node_role passfile=%s/passfile sslrootcert=%s/trusted.crt',
	  $node->name, $node->port, $database, tls_directory(), tls_directory();
}

1;
