# What the TAP tests share: clusters, sessions that stay open, and the whole
# of what the extension keeps in a database as text, to be compared.

package ActorstoreTest;

use strict;
use warnings;

use ActorstoreCluster;
use ActorstoreTLS;
use Exporter 'import';
use IPC::Run;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(usleep);

our @EXPORT = qw(new_node new_cluster reached release set_everywhere new_database new_database_with_actors handled comes_true sqlstate contents populate quiet_ok rows patience is_up_without with_tls admit_peers peer_conninfo declare_loosely all_actors have_moved set_at);

# The superuser's name, whoever runs the tests.
$ENV{PGUSER} = 'postgres';

# How long anything may take before the test gives up, in seconds.
sub patience { return $ENV{PG_TEST_TIMEOUT_DEFAULT} || 180; }

# A running cluster.  Settings are lines for postgresql.conf; preload => 0
# leaves the library out of shared_preload_libraries; plugins are the output
# plugins to be allowed, where the server knows a setting for that; server is
# where another one is installed.
sub new_node
{
	my ($name, %options) = @_;
	my $server = $options{faults} ? fault_server() : $options{server};
	my @where = $server ? (install_path => $server) : ();
	my $node = ActorstoreCluster->new($name, @where);

	$node->init(
		extra => [ '--no-locale', '--encoding=UTF8', '--username=postgres' ],
		$options{streaming} ? (allows_streaming => $options{streaming}) : ());
	$node->append_conf('postgresql.conf', "shared_preload_libraries = 'actorstore'")
	  unless exists $options{preload} && !$options{preload};
	$node->append_conf('postgresql.conf', "max_connections = 50");
	$node->append_conf('postgresql.conf', "autovacuum = off");
	$node->append_conf('postgresql.conf', $options{settings}) if $options{settings};
	tls_settings($node) if $options{tls};
	$node->start;
	if ($options{plugins}
		&& $node->safe_psql('postgres', q{SELECT count(*) FROM pg_settings WHERE name = 'output_plugin_libraries'}))
	{
		$node->append_conf('postgresql.conf', "output_plugin_libraries = '$options{plugins}'");
		$node->restart;
	}
	return $node;
}

# The server whose library has places where a test can stop it (make
# fault-server).
sub fault_server
{
	my $bindir = (grep { m{/tmp/pg\d+/.*/bin$} } split /:/, $ENV{PATH})[0];
	my $path = $bindir =~ s{(/tmp/pg\d+)(/.*)/bin$}{$1-faults$2}r;

	die "$path is not there: make fault-server" unless -x "$path/bin/postgres";
	return $path;
}

# Wait until a session of the server has come to a place (fault.h).
sub reached
{
	my ($node, $place) = @_;
	my $until = time + patience();

	until (-e $node->data_dir . "/fault.$place.reached")
	{
		die "$place is not reached" if time > $until;
		usleep(1000);
	}
	return;
}

# Let it go on.
sub release
{
	my ($node, $place) = @_;

	append_to_file($node->data_dir . "/fault.$place.go", '');
	return;
}

# Servers that know each other as nodes, by their database d, each
# with its share of the slots. In the environment ACTORSTORE_TLS=1 has them speak TLS.
# login => names another role that they log in as, which then may execute what it
# has to, and nothing else.
sub new_cluster
{
	my (@names) = @_;
	my %options = ref $names[-1] ? %{ pop @names } : ();
	$options{settings} = "max_prepared_transactions = 10\n" . ($options{settings} // '');
	$options{tls} = with_tls();
	my @nodes = map { new_node($_, %options) } @names;

	foreach my $i (0 .. $#nodes)
	{
		new_database_with_actors($nodes[$i], 'd');
		admit_peers($nodes[$i], 'd');
		$nodes[$i]->safe_psql('d', "CREATE ROLE $options{login} LOGIN; " . join '; ', rows($nodes[$i], 'd', qq{SELECT format('GRANT EXECUTE ON FUNCTION %s TO $options{login}', oid::regprocedure)
			FROM pg_proc WHERE pronamespace = 'actorstore'::regnamespace AND starts_with(proname, 'local_')})) if $options{login};
		$nodes[0]->safe_psql('d', sprintf(q{SELECT actorstore.%s('%s', $$%s$$)}, $i == 0 ? 'init_node' : 'add_node', $names[$i],
				peer_conninfo($nodes[$i], 'd') . ($options{login} && !with_tls() ? " user=$options{login}" : '')));
	}
	return @nodes;
}

# A database with the extension in it.
sub new_database
{
	my ($node, $database) = @_;

	$node->safe_psql('postgres', "CREATE DATABASE $database TEMPLATE template0 ENCODING 'UTF8' STRATEGY file_copy");
	$node->safe_psql($database, 'CREATE EXTENSION actorstore');
	return;
}

# The same with what tests of actors use: until(condition) waits in the server
# till a condition holds, and is false if that takes too long; a table seen,
# for handlers to write to; collect() adds each body to the state.
sub new_database_with_actors
{
	my ($node, $database) = @_;
	my $tries = patience() * 20 + 10;

	new_database($node, $database);
	$node->safe_psql($database, qq{
		CREATE FUNCTION until(condition text) RETURNS boolean LANGUAGE plpgsql AS \$\$
		DECLARE
			holds boolean;
		BEGIN
			FOR i IN 1 .. $tries LOOP
				EXECUTE 'SELECT ' || condition INTO holds;
				IF holds THEN RETURN true; END IF;
				PERFORM pg_sleep(least(0.001 * 2 ^ least(i, 10), 0.05)), pg_stat_clear_snapshot();
			END LOOP;
			RETURN false;
		END \$\$;
		CREATE TABLE seen (n bigint GENERATED ALWAYS AS IDENTITY, what text);
		GRANT ALL ON seen TO PUBLIC;
		CREATE FUNCTION collect(state jsonb, body jsonb) RETURNS jsonb LANGUAGE sql
			RETURN coalesce(state, '[]') || jsonb_build_array(body);
	});
	return;
}

sub comes_true
{
	my ($node, $database, $condition, %options) = @_;
	return $node->safe_psql($database, "SELECT public.until(\$until\$$condition\$until\$)", %options) eq 't';
}

# A process has been killed: wait until the server, which has to start anew, is there without it.  Until the process has
# gone, the server does not know of it, and still answers.
sub is_up_without
{
	my ($node, $database, $pid) = @_;

	foreach (1 .. patience() * 10)
	{
		my ($status, $stdout) = eval { $node->psql($database, "SELECT count(*) FROM pg_stat_activity WHERE pid = $pid") };
		return 1 if defined $status && $status == 0 && $stdout eq '0';
		select(undef, undef, undef, 0.1);
	}
	return 0;
}

# Wait until no mail of a type is left.
sub handled
{
	my ($node, $database, $type) = @_;
	return comes_true($node, $database, "NOT EXISTS (SELECT FROM actorstore.message WHERE actor_type OPERATOR(pg_catalog.=) '$type')", kept => 1);
}

# Change a setting of a server, a line of postgresql.conf; nobody is waited for.
sub set_at
{
	my ($node, $setting) = @_;

	$node->append_conf('postgresql.conf', $setting);
	$node->reload;
	return;
}

# Change a setting of a server whose only database with actors is this one.  When this returns, new sessions have it, and
# the workers: those that start have read it for sure.
sub set_everywhere
{
	my ($node, $database, $name, $value) = @_;

	$node->safe_psql($database, "ALTER SYSTEM SET $name = '$value'");
	$node->reload;
	$node->poll_query_until($database, "SELECT current_setting('$name') = '$value'") or die "$name is not $value";
	my $old = join ',', 0, rows($node, $database, 'SELECT pid FROM actorstore.stat_workers');
	$node->safe_psql($database, "SELECT pg_terminate_backend(pid) FROM actorstore.stat_workers WHERE pid IN ($old)");
	return comes_true($node, $database,
		"(SELECT count(*) = current_setting('actorstore.workers')::int AND bool_and(pid NOT IN ($old)) FROM actorstore.stat_workers)");
}

# The SQLSTATE that a statement fails with, or '00000'.
sub sqlstate
{
	my ($node, $database, $sql, %options) = @_;
	my ($status, $stdout, $stderr) =
	  $node->psql($database, $sql, on_error_stop => 1, extra_params => [ '-v', 'VERBOSITY=sqlstate' ], %options);

	return '00000' if $status == 0;
	return $stderr =~ /(?:ERROR|FATAL):\s+(\w{5})/ ? $1 : "no SQLSTATE: $stderr";
}

# All actors of these nodes, as text; and whether all moves between them come to an end.
sub all_actors
{
	my (@nodes) = @_;

	return join "\n", sort map { rows($_, 'd', q{SELECT actor_type || ' ' || actor_id || ' ' || value::text || ' ' || version FROM actorstore.actor}) } @nodes;
}

sub have_moved
{
	my (@nodes) = @_;

	return 0 == grep { !comes_true($_, 'd', 'NOT EXISTS (SELECT FROM actorstore.moves_now()) AND NOT EXISTS (SELECT FROM actorstore.transit)') } @nodes, @nodes;
}

# The rows of a query, as a list of lines.
sub rows
{
	my ($node, $database, $sql, %options) = @_;
	return split /\n/, $node->safe_psql($database, $sql, %options);
}

# Everything that must survive a dump, a restore, an upgrade: a line for each
# actor with the table it lives in, type, handler, right, table and index.
# No OIDs; roles and tables by name.
sub contents
{
	my ($node, $database) = @_;
	my @parts = (
		q{SELECT concat_ws('|', 'actor', tableoid::regclass, quote_literal(actor_type), quote_literal(actor_id), version, created_at, updated_at,
				md5(value::text), length(value::text)) FROM actorstore.actor},
		q{SELECT concat_ws('|', 'type', to_jsonb(t)) FROM actorstore.type AS t},
		q{SELECT concat_ws('|', 'timer', to_jsonb(t)) FROM actorstore.timer AS t},
		q{SELECT concat_ws('|', 'handler', to_jsonb(h)) FROM actorstore.handler AS h},
		(map { "SELECT concat_ws('|', '$_', to_jsonb(x)) FROM actorstore.$_ AS x" } qw(spawned link monitor supervisor supervised child supervision_step supervision_restart supervision_event halted group_member)),
		q{SELECT concat_ws('|', 'grant', quote_literal(actor_type), grantee::regrole, privilege) FROM actorstore.type_grant AS g},
		q{SELECT concat_ws('|', 'table', c.oid::regclass, c.relkind, c.relpersistence, c.relreplident, pg_get_expr(c.relpartbound, c.oid), c.reloptions::text,
				pg_get_userbyid(c.relowner), array(SELECT unnest(COALESCE(c.relacl, acldefault('r', c.relowner)))::text ORDER BY 1)::text, c.relispartition)
			FROM pg_class AS c WHERE c.relnamespace = 'actorstore'::regnamespace},
		q{SELECT concat_ws('|', 'index', pg_get_indexdef(indexrelid), indisprimary, indisvalid, indisreplident) FROM pg_index
			JOIN pg_class AS c ON c.oid = indrelid WHERE c.relnamespace = 'actorstore'::regnamespace},
		q{SELECT concat_ws('|', 'constraint', conrelid::regclass, conname, pg_get_constraintdef(oid)) FROM pg_constraint
			WHERE connamespace = 'actorstore'::regnamespace},
		q{SELECT concat_ws('|', 'function', oid::regprocedure, prosrc, array(SELECT unnest(COALESCE(proacl, acldefault('f', proowner)))::text ORDER BY 1)::text)
			FROM pg_proc WHERE pronamespace = 'actorstore'::regnamespace},
		q{SELECT concat_ws('|', 'schema', nspname, array(SELECT unnest(nspacl)::text ORDER BY 1)::text) FROM pg_namespace WHERE nspname = 'actorstore'},
		q{SELECT concat_ws('|', 'member', pg_describe_object(classid, objid, objsubid)) FROM pg_depend
			WHERE refclassid = 'pg_extension'::regclass AND deptype = 'e' AND refobjid = (SELECT oid FROM pg_extension WHERE extname = 'actorstore')});

	return [ sort(rows($node, $database, join('; ', "SET timezone = 'UTC'", @parts))) ];
}

# What a database is filled with before it is dumped or upgraded: types of
# every kind and of odd names, actors small and large, rights, handlers, and
# what a user may hang on a partition.
sub populate
{
	my ($node, $database) = @_;

	$node->safe_psql('postgres', q{CREATE ROLE keeper; CREATE ROLE reader; CREATE ROLE "Odd ""Role"""});
	$node->safe_psql('postgres', "GRANT CREATE ON DATABASE $database TO keeper");
	$node->safe_psql(
		$database, q{
		CREATE SCHEMA app;
		GRANT USAGE ON SCHEMA app TO PUBLIC;
		CREATE FUNCTION app.handle(state jsonb, body jsonb) RETURNS jsonb LANGUAGE sql RETURN body;
		CREATE FUNCTION app."odd, name("(jsonb, jsonb) RETURNS jsonb LANGUAGE sql RETURN $2;
		CREATE FUNCTION app.nothing() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';

		SELECT actorstore.create_type('cart'), actorstore.create_type('empty'), actorstore.create_type('gone'),
			actorstore.create_type('it''s an "odd" type', 'logged', 7, 'wait', 3, '2 s', '1 hour', '90 s', 'escalate'),
			actorstore.create_type(repeat('日', 60)), actorstore.create_type(repeat('日', 60) || '本'),
			actorstore.create_type('memory', 'unlogged');
		SELECT actorstore.insert_many(t, array_agg('id ' || i), array_agg(jsonb_build_object('t', t, 'i', i)))
			FROM unnest(ARRAY['cart', 'it''s an "odd" type', repeat('日', 60), repeat('日', 60) || '本', 'memory', 'loose', 'loose too', 'gone', 'moved'])
				AS t, generate_series(1, 300) AS i GROUP BY t;
		SELECT sum((actorstore.update(t, 'id ' || i, to_jsonb(-i))).version)
			FROM unnest(ARRAY['cart', 'loose', 'moved']) AS t, generate_series(1, 300, 3) AS i;
		SELECT actorstore.create_type('moved');
		SELECT actorstore.drop_type('gone');
		SELECT actorstore.put('cart', 'ten megabytes', to_jsonb(repeat('0123456789', 1048000))) IS NULL,
			actorstore.put('cart', E'tab\t newline\n backslash\\\\', '"\u00e4\n\"\\\\"') IS NULL,
			actorstore.put('cart', '\.', '"\\\\."') IS NULL;

		SELECT actorstore.set_handler('cart', '*', 'app.handle(jsonb, jsonb)'),
			actorstore.set_handler('loose', '$start', 'app."odd, name("(jsonb, jsonb)');
		SET search_path = app, public;
		SELECT actorstore.set_handler('it''s an "odd" type', 'a "message"', 'handle(jsonb, jsonb)');
		RESET search_path;
		SELECT actorstore.grant_type('cart', 'reader', '{read,send}'), actorstore.grant_type('cart', '"Odd ""Role"""', '{read,write,send,ask}'),
			actorstore.grant_type('loose', 'reader', '{read}'), actorstore.grant_type('it''s an "odd" type', 'reader', '{read}');
		SELECT actorstore.set_timer(t, 'id ' || i, 'n', 'm', to_jsonb(i), at => '2200-01-01', every => i * interval '1 day', missed => 'skip')
			FROM unnest(ARRAY['cart', 'loose', 'it''s an "odd" type']) AS t, generate_series(0, 2) AS i WHERE i > 0;
		SELECT actorstore.set_timer('cart', 'id 1', 'once', 'm', at => '2200-01-02');
		CREATE INDEX of_the_user ON actorstore.actor_cart ((value ->> 't'));
		ALTER TABLE actorstore.actor_cart ADD CONSTRAINT of_the_user CHECK (version >= 0);
		CREATE TRIGGER of_the_user AFTER UPDATE ON actorstore.actor_cart FOR EACH ROW EXECUTE FUNCTION app.nothing();
		SELECT actorstore.supervise('cart', 'id 1', 'loose', 'id ' || i, 'one_for_all', 5, '1 day 2 hours', i = 2, 'permanent') FROM generate_series(1, 3) AS i;
		SELECT actorstore.join_group('a group', 'cart', 'id 1'), actorstore.pause('loose');
		SELECT count(actorstore.pause('loose', 'id ' || i)) FROM generate_series(3, 300) AS i;
		CREATE FUNCTION app.tie(state jsonb, body jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
		BEGIN
			PERFORM actorstore.link('loose', 'id 2'), actorstore.monitor('loose', 'id 3'), actorstore.spawn('cart', 'spawned', '{"born": "with this"}');
			RETURN NULL;
		END $$;
		SELECT actorstore.set_handler('moved', 'tie', 'app.tie(jsonb, jsonb)'), actorstore.call('moved', 'id 1', 'tie');
		SET ROLE keeper;
		SELECT actorstore.create_type('kept'), actorstore.insert('kept loosely', 'a', '1') IS NULL;
		SELECT actorstore.insert('kept', 'a', '1') IS NULL, actorstore.grant_type('kept', 'reader', '{read}');
	});
	return;
}

# A program must end with status 0 and not one word on stderr.
sub quiet_ok
{
	my ($name, @command) = @_;
	my ($stdout, $stderr) = ('', '');

	local $Test::Builder::Level = $Test::Builder::Level + 1;
	my $result = IPC::Run::run(\@command, '>', \$stdout, '2>', \$stderr);
	ok($result, "$name: exit status 0");
	is($stderr, '', "$name: silence");
	return;
}

package ActorstoreTest::Session;

use IO::Handle;
use IPC::Open3;
use Symbol qw(gensym);

# One psql that stays: $session->query('SELECT …') waits for the answer,
# ->start('SELECT …') does not, ->finish then does.  Errors come back as
# "ERROR:  <SQLSTATE>" behind the rows.

sub new
{
	my ($class, $node, $database, @params) = @_;
	my $self = bless { in => '', out => '', err => '', count => 0, stderr => gensym, node => $node, database => $database }, $class;
	my @command = (
		'psql', '-XAtq', '-v', 'VERBOSITY=sqlstate', '-v', 'ON_ERROR_STOP=0',
		@params, $node->connstr($database));

	$self->{psql} = open3($self->{stdin}, $self->{stdout}, $self->{stderr}, @command);
	$self->{$_}->blocking(0) foreach qw(stdin stdout stderr);
	$self->{pid} = $self->query('SELECT pg_backend_pid()');
	return $self;
}

# Write and read what can be; wait so long for something that can.
sub pump
{
	my ($self, $seconds) = @_;
	my ($readable, $writable) = ('', '');

	vec($readable, fileno $self->{$_}, 1) = 1 foreach grep { $self->{$_} } qw(stdout stderr);
	vec($writable, fileno $self->{stdin}, 1) = 1 if $self->{in} ne '';
	return if !$self->is_there || select($readable, $writable, undef, $seconds) <= 0;

	foreach ([ 'stdout', 'out' ], [ 'stderr', 'err' ])
	{
		my ($from, $to) = @$_;

		next unless $self->{$from} && vec $readable, fileno $self->{$from}, 1;
		my $n = sysread $self->{$from}, $self->{$to}, 65536, length $self->{$to};
		delete $self->{$from} if defined $n ? $n == 0 : !$!{EAGAIN} && !$!{EINTR};
	}
	if (vec $writable, fileno $self->{stdin}, 1)
	{
		local $SIG{PIPE} = 'IGNORE';
		my $n = syswrite $self->{stdin}, $self->{in};
		substr($self->{in}, 0, $n) = '' if defined $n;
		$self->{in} = '' if !defined $n && !$!{EAGAIN} && !$!{EINTR};
	}
	return;
}

# Has psql not ended yet, as far as was seen?
sub is_there { my ($self) = @_; return defined $self->{stdout} || defined $self->{stderr}; }

sub start
{
	my ($self, $sql) = @_;

	$self->{count}++;
	$sql = ActorstoreTLS::owned($self->{node}, $self->{database}, $sql);
	$self->{in} .= "$sql;\n\\echo end $self->{count}\n\\warn end $self->{count}\n";
	$self->pump(0);
	return;
}

# Has the statement started last come to its end?
sub done
{
	my ($self) = @_;
	my $mark = "end $self->{count}\n";

	$self->pump(0);
	return 1 if !$self->is_there;
	return index($self->{out}, $mark) >= 0 && index($self->{err}, $mark) >= 0;
}

sub finish
{
	my ($self) = @_;
	my $until = time + ActorstoreTest::patience();

	until ($self->done)
	{
		die "no answer" if time > $until;
		$self->pump(1);
	}
	my $answer = $self->{out} . $self->{err};
	$self->{out} = $self->{err} = '';
	$answer =~ s/^end $self->{count}\n//mg;
	chomp $answer;
	return $answer;
}

sub query
{
	my ($self, $sql) = @_;

	$self->start($sql);
	return $self->finish;
}

# Wait until the statement started last has ended or waits for a lock; true
# if it waits.  The other session is one that looks.
sub blocked
{
	my ($self, $other) = @_;
	my $until = time + ActorstoreTest::patience();
	my $pause = 0.0005;

	until ($self->done)
	{
		return 1
		  if $other->query("SELECT wait_event_type = 'Lock' FROM pg_stat_activity WHERE pid = $self->{pid}") eq 't';
		die "neither done nor waiting" if time > $until;
		$self->pump($pause);
		$pause *= 2 if $pause < 0.01;
	}
	return 0;
}

sub quit
{
	my ($self) = @_;
	my $until = time + ActorstoreTest::patience();

	$self->{in} .= "\\q\n";
	while ($self->is_there)
	{
		die "psql does not end" if time > $until;
		$self->pump(1);
	}
	waitpid $self->{psql}, 0;
	return;
}

# End psql at once, whatever it waits for.
sub kill
{
	my ($self) = @_;

	CORE::kill('KILL', $self->{psql});
	waitpid $self->{psql}, 0;
	return;
}

1;
