# Prometheus' exporter is given metrics/queries.yaml and scraped: names and values are those of SQL; the dashboard uses no
# other names.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";
use ActorstoreTest;
use HTTP::Tiny;
use IO::Socket::INET;
use IPC::Run;
use JSON::PP;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(usleep);

my $metrics = "$FindBin::RealBin/../../metrics";
my ($exporter) = grep { -x } map { "$_/prometheus-postgres-exporter" } split(/:/, $ENV{PATH}), '/usr/bin';
die 'there is no prometheus-postgres-exporter: scripts/install-deps clients' unless $exporter;

my $node = new_node('metrics', plugins => 'actorstore',
	settings => "actorstore.workers = 2\nfsync = off\nwal_level = logical\nmax_replication_slots = 4\nmax_worker_processes = 16\nmax_prepared_transactions = 10");

# Another node, on which nothing lives.
my $other = new_node('other', settings => "fsync = off\nmax_worker_processes = 16\nmax_prepared_transactions = 10");

sub sql { return $node->safe_psql('d', $_[0]); }

# A name with all that is quoted in one format or the other, and as a label shows it.
my $odd = q{odd "name"\\};
my $odd_label = q{odd \"name\"\\\\};

foreach my $each ($node, $other)
{
	new_database_with_actors($each, 'd');
	$each->safe_psql('d', q{CREATE FUNCTION fail(state jsonb, body jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'failed'; END $$});
}
sql(sprintf q{SELECT actorstore.init_node('metrics', $$%s$$)}, $node->connstr('d'));
sql(sprintf q{SELECT actorstore.add_node('other', $$%s$$, 0)}, $other->connstr('d'));
sql(qq{
	CREATE ROLE prometheus LOGIN IN ROLE pg_monitor;
	SELECT actorstore.create_type(name, backoff => '10 ms', max_attempts => 2) FROM unnest(ARRAY['$odd', 'idle']) AS name;
	SELECT actorstore.set_handler('$odd', name, ('public.' || name || '(jsonb, jsonb)')::regprocedure) FROM unnest('{fail,collect}'::text[]) AS name;
	SELECT actorstore.send('$odd', (i % 7)::text, 'collect', '1') FROM generate_series(1, 100) AS i;
	SELECT actorstore.send('$odd', 'f', 'fail');
	SELECT actorstore.send('$odd', 'later', 'collect', '1', delay => '1 hour') FROM generate_series(1, 3);
});
sql(q{SELECT actorstore.subscribe('audit')});
sql(qq{SELECT actorstore.ask('$odd', 'a', 'collect', '1', timeout => '1 min')});
sql(q{SELECT actorstore.create_type('out'), actorstore.set_handler('out', '*', 'actorstore.outside(jsonb, jsonb)')});
sql(q{SELECT actorstore.send('out', a, 'm', '1') FROM unnest('{a,a,b}'::text[]) AS a});
sql(q{SELECT actorstore.checkout('w', '{out}', max_turns => 1, lease => '1 day', max_wait => '} . patience() . q{ s')});
sql(q{SELECT actorstore.pause('idle')});
sql(q{SELECT actorstore.send('idle', 'a', 'collect', '1') FROM generate_series(1, 5)});
$other->safe_psql('d', 'CREATE TABLE t (n int)');
sql(q{CREATE TABLE t (n int); SELECT * FROM actorstore.execute_on_nodes('INSERT INTO t VALUES (1)')});
ok(comes_true($node, 'd', q{(SELECT health = 'up' AND heartbeats_answered > 5 FROM actorstore.stat_peers)}), 'the other node is there');
ok(comes_true($node, 'd', q{(SELECT handled = 101 AND dead = 1 FROM actorstore.stat_types WHERE actor_type LIKE 'odd%')
	AND (SELECT used_cells = 0 FROM actorstore.stat_requests) AND (SELECT bool_and(state = 'sleeping') AND count(*) = 2 FROM actorstore.stat_workers)}),
	'all is quiet') or note sql('TABLE actorstore.stat_types');

# ---- The exporter ----

# A port of ours that is free, as far as one can know.
sub free_port
{
	my $socket = IO::Socket::INET->new(Listen => 1, LocalAddr => '127.0.0.1', LocalPort => 0) or die "no port: $!";
	return $socket->sockport;
}

# Collectors of other things are left out, where this release has the switch.
my $help = qx{$exporter --help 2>&1};
my @others = map { "--no-collector.$_" } grep { $help =~ /collector\.\Q$_\E\b/ } qw(database bgwriter);

my ($in, $output) = ('', '');
my $port = free_port();
$ENV{DATA_SOURCE_NAME} = sprintf('user=prometheus host=%s port=%d dbname=d sslmode=disable', $node->host, $node->port);
my $process = IPC::Run::start(
	[ $exporter, "--web.listen-address=127.0.0.1:$port", "--extend.query-path=$metrics/queries.yaml", '--disable-default-metrics',
		'--disable-settings-metrics', @others ],
	'<', \$in, '>&', \$output);
END { $process->kill_kill if $process; }

sub scrape
{
	my $until = time + patience();

	for (;;)
	{
		my $answer = HTTP::Tiny->new(timeout => patience(), http_proxy => undef)->get("http://127.0.0.1:$port/metrics");
		return $answer->{content} if $answer->{success};
		$process->pump_nb;
		die "the exporter does not answer: $answer->{status} $answer->{content}\n$output" if time > $until || !$process->pumpable;
		usleep(100_000);
	}
}

# name => { 'label="value",…' => number }, ours only; labels in the order of names, without those that the exporter adds.
sub parse
{
	my %found;

	foreach my $line (grep { /^actorstore_/ } split /\n/, $_[0])
	{
		my ($name, $labels, $value) = $line =~ /^(\w+)\{(.*)\} (\S+)$/ or die "what is this: $line";
		my %labels = $labels =~ /(\w+)="((?:[^"\\]|\\.)*)"/g;

		delete $labels{server};
		$found{$name}{ join ',', map { "$_=$labels{$_}" } sort keys %labels } = $value;
	}
	return \%found;
}

my $scraped = parse(scrape());
$process->pump_nb;
unlike($output, qr/level=error|level=warn/, 'the exporter has nothing to complain of');

# ---- Names ----

my $queries = slurp_file("$metrics/queries.yaml");
my %kind;
my $group;
foreach my $line (split /\n/, $queries)
{
	$group = $1 if $line =~ /^(\w+):$/;
	$kind{"${group}_$1"} = $2 if $line =~ /^    - (\w+): \{usage: "(GAUGE|COUNTER)", description: ".+"\}$/;
}
cmp_ok(scalar keys %kind, '>', 30, 'the file names metrics');
is_deeply([ sort keys %$scraped ], [ sort keys %kind ], 'and all of them are scraped');
is_deeply([ grep { ($kind{$_} eq 'COUNTER') != /_total$/ } sort keys %kind ], [], 'counters, and nothing else, are called _total');

# ---- Values ----

# What SQL says, as "labels value" lines, must be what was scraped.
sub same
{
	my ($name, $query) = @_;
	my %expected = map { /^(.*)\|([^|]*)$/ ? ($1 => $2 + 0) : () } split /\n/, sql($query);
	my %got = map { $_ => $scraped->{$name}{$_} + 0 } keys %{ $scraped->{$name} };

	local $Test::Builder::Level = $Test::Builder::Level + 1;
	is_deeply(\%got, \%expected, $name) or diag(explain([ \%got, \%expected ]));
	return;
}

my $type = q{'actor_type=' || replace(replace(actor_type, '\\', '\\\\'), '"', '\"') || ',datname=d'};
same("actorstore_type_${_}_total", "SELECT $type, $_ FROM actorstore.stat_types") foreach qw(handled turns created failed retried dead answered timed_out conflicts);
same("actorstore_type_${_}_seconds_total", "SELECT $type, ${_}_time / 1000 FROM actorstore.stat_types") foreach qw(waiting handling);
same("actorstore_type_$_", "SELECT $type, $_ FROM actorstore.stat_queues") foreach qw(depth delayed);
is($scraped->{actorstore_type_handled_total}{"actor_type=$odd_label,datname=d"}, 101, 'as we have sent');
is($scraped->{actorstore_type_depth}{'actor_type=idle,datname=d'}, 5, 'five wait');
is($scraped->{actorstore_type_delayed}{"actor_type=$odd_label,datname=d"}, 3, 'three for a time');
is($scraped->{actorstore_type_oldest_seconds}{"actor_type=$odd_label,datname=d"}, 0, 'which is no delay');
cmp_ok($scraped->{actorstore_type_oldest_seconds}{'actor_type=idle,datname=d'}, '>', 0, 'but the five have waited');
same('actorstore_latency_seconds', join ' UNION ALL ', map {
		my ($stage, $p) = @$_;
		"SELECT $type || ',quantile=0.$p,stage=$stage', ${stage}_p" . ($p eq '5' ? '50' : $p) . " / 1000 FROM actorstore.stat_latency"
	} map { my $stage = $_; map { [ $stage, $_ ] } qw(5 95 99) } qw(waiting handling ask_waiting ask_handling round_trip));
same("actorstore_worker_${_}_total", "SELECT 'datname=d,worker=' || worker, $_ FROM actorstore.stat_workers") foreach qw(turns messages commits failures steals);
same("actorstore_scheduler_$_", "SELECT 'datname=d', ${_}::int FROM actorstore.stat_scheduler") foreach qw(queued slots swept);
same("actorstore_lease_$_->[0]", "SELECT $type, $_->[1] FROM actorstore.stat_types")
	foreach [ open => q{(actor_type = 'out')::int} ], [ overdue => 0 ], [ messages => q{CASE actor_type WHEN 'out' THEN (SELECT messages FROM actorstore.lease) ELSE 0 END} ];
cmp_ok($scraped->{actorstore_lease_oldest_seconds}{'actor_type=out,datname=d'}, '>', 0, 'a turn is open');
is(sql(q{SET ROLE prometheus; SELECT actor_type, actor_id IS NULL, worker FROM actorstore.stat_leases}), 'out|t|w', 'whose actor is not shown to who only watches');
same('actorstore_requests_cells', q{SELECT 'datname=d', cells FROM actorstore.stat_requests});
same('actorstore_requests_told_total', q{SELECT 'datname=d', told FROM actorstore.stat_requests});
same("actorstore_subscription_$_->[0]", "SELECT 'datname=d,subscription=audit', $_->[1]") foreach [ events_total => 0 ], [ lost => 0 ];
cmp_ok($scraped->{actorstore_subscription_lag_seconds}{'datname=d,subscription=audit'}, '>=', 0, 'lag');

# Of other nodes: what stands still; what does not is there.
my $peer = q{'datname=d,node_name=' || coalesce(node_name, 'unknown')};
same("actorstore_peer_${_}_total", "SELECT $peer, $_ FROM actorstore.stat_peers") foreach qw(refused lost one_phase prepared committed rolled_back resolved);
cmp_ok($scraped->{actorstore_peer_prepared_total}{'datname=d,node_name=other'}, '>=', 1, 'something was prepared there');
is($scraped->{actorstore_peer_up}{'datname=d,node_name=other'}, 1, 'the other one is up');
cmp_ok($scraped->{"actorstore_peer_$_"}{'datname=d,node_name=other'}, '>', 0, "$_") foreach qw(round_trips_total connected_total connections rtt_p50_seconds rtt_p99_seconds);
same("actorstore_outbox_$_->[0]", "SELECT $peer, $_->[1] FROM actorstore.stat_outbox") foreach (map { [ "${_}_total", $_ ] } qw(forwarded batches repeated failures)), [ on_their_way => 'on_their_way' ], [ connected => 'connected::int' ];
same("actorstore_inbox_${_}_total", "SELECT $peer, $_ FROM actorstore.stat_inbox") foreach qw(received refused limited duplicates);
same('actorstore_doctor_ok', q{SELECT 'datname=d,item=' || item, ok::int FROM actorstore.doctor()});

# ---- The dashboard ----

my $dashboard = decode_json(slurp_file("$metrics/dashboard.json"));
my @texts = map { $_->{expr} } map { @{ $_->{targets} } } @{ $dashboard->{panels} };
push @texts, map { $_->{query}{query} } grep { $_->{type} eq 'query' } @{ $dashboard->{templating}{list} };
my %used = map { $_ => 1 } map { /\b(actorstore_\w+)/g } @texts;
cmp_ok(scalar @texts, '>', 20, 'the dashboard asks');
is_deeply([ grep { !$scraped->{$_} } sort keys %used ], [], 'for nothing but what is there');
is_deeply([ grep { !/\bactorstore_\w+/ } @texts ], [], 'by name');
my %labels = map { $_ => 1 } map { /(\w+)=/g } map { keys %$_ } values %$scraped;
is_deeply([ grep { !$labels{$_} } map { /[{,]\s*(\w+)\s*=~?"/g, /\bby \((\w+)\)/g } @texts ], [], 'and by labels that there are');

$process->kill_kill;
undef $process;
$_->stop foreach $node, $other;
done_testing();
