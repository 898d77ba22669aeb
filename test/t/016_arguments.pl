# Whatever users may call, called with what is missing, empty, too long, below zero, without end or of another shape: it is
# refused for what it is, or means something; no error is an internal one, and nothing changes.  As a superuser, for whom no
# right is in the way; 003_privileges.pl does some of it without rights.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";

use ActorstoreArguments;
use ActorstoreCluster;
use ActorstoreTest;
use Test::More;

my $node = new_node('main', streaming => 1, plugins => 'pgoutput, actorstore', settings => "wal_level = logical\nactorstore.workers = 2\nmax_prepared_transactions = 5\nmax_replication_slots = 10");
new_database_with_actors($node, 'd');
prepare_attempts($node, 'd');
$node->safe_psql('d', $_) foreach q{
	CREATE ROLE stranger;
	CREATE FUNCTION nothing(state jsonb, body jsonb) RETURNS jsonb LANGUAGE sql RETURN NULL::jsonb;
	CREATE FUNCTION attempt_it(state jsonb, body jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$ BEGIN PERFORM actorstore.reply(to_jsonb(attempt(body #>> '{}'))); RETURN NULL; END $$;
	SELECT actorstore.create_type(t) FROM unnest('{t,out,inside}'::text[]) AS t;
	SELECT actorstore.set_handler('t', '*', 'nothing(jsonb, jsonb)'), actorstore.set_handler('out', '*', 'actorstore.outside(jsonb, jsonb)'), actorstore.set_handler('inside', 'm', 'attempt_it(jsonb, jsonb)');
	SELECT actorstore.insert_many('t', '{a,b}', '{1,2}'), actorstore.supervise('t', 'a', 't', 'b'), actorstore.join_group('g', 't', 'a'), actorstore.set_timer('t', 'a', 'n', 'm', at => '2200-01-01')},
  q{SELECT actorstore.subscribe('s', actor_types => '{t}')};
my @good = good_calls($node, 'd');
my @bad = bad_calls($node, 'd');
cmp_ok(scalar(@bad), '>', 1000, 'many calls');
my ($contents, $started) = (contents($node, 'd'), $node->safe_psql('d', 'SELECT pg_postmaster_start_time()'));
my $session = ActorstoreTest::Session->new($node, 'd');

# Of these calls, those whose answer is not of these kinds.
sub others
{
	my ($allowed, $calls, @answers) = @_;
	return [ map { $answers[$_] =~ $allowed ? () : "$calls->[$_]{call}: $answers[$_]" } 0 .. $#answers ];
}

sub only
{
	my ($name, $allowed, $chosen, @answers) = @_;
	my @which = grep { $chosen->($bad[$_]) } 0 .. $#bad;

	local $Test::Builder::Level = $Test::Builder::Level + 1;
	cmp_ok(scalar(@which), '>', 0, "$name: there are some");
	is_deeply(others($allowed, [ @bad[@which] ], @answers[@which]), [], $name);
	return;
}

# ---- What may be wrong ----

# What only a handler may call says so, whatever it is called with, or complains of that.
my %of_handlers = map { $_ => 1 } qw(context reply reject retry_after stop spawn link unlink monitor demonitor monitor_node demonitor_node);
# What is not undone is not called in a function.
my %of_its_own = map { $_ => 1 } qw(add_node remove_node set_node_weight set_node_location stop_rebalance restore_point resolve_in_doubt);

# NULL means something.
my %may_be_null = map { $_ => 1 } map { my ($function, @arguments) = split / /; map { "$function $_" } @arguments } (
	'get_many lock', 'list id_prefix after max_rows', 'set_handler handler', 'send body delay deliver_at dedup_key headers expires_at', 'ask body dedup_key', 'tell body', 'call body',
	(map { "$_ persistence mailbox_limit on_full max_attempts backoff backoff_max turn_timeout on_exhausted rate_limit max_concurrency order_by_deadline" } 'create_type', 'alter_type'),
	'set_timer body after at every', 'reply body', 'reject reason', 'broadcast body', 'checkout max_messages', 'complete state sends replies', 'complete_many states sends replies', 'fail error retry_after',
	'outside state body', 'subscribe actor_types key_prefix', 'pause actor_id', 'resume actor_id', 'redrive actor_id max_rows', 'init_node conninfo', 'set_node_location datacenter rack', 'execute_on_nodes node_names');
# A function that is STRICT gives NULL for NULL.
my %strict = map { $_ => 1 } qw(has_type_privilege slot_of merge increment counter);
# Names of actors and of what belongs to them.
my %names = map { $_ => 1 } qw(actor_type actor_id message dedup_key name group_name subscription worker parent_type parent_id child_type child_id);

my $refused = qr/^2(?:2023|2004)\|/;
my $any = qr/^(?:00000$|(?:0A000|21000|22\w{3}|23505|25001|40001|42501|42601|42704|42883|42P02|42P13|42P17|54000|55000|55006|P0002|VA00[1-9])\|)/;

sub judge
{
	my ($where, $here, @answers) = @_;

	is_deeply(others($any, \@bad, @answers), [], "$where: no error is an internal one");
	is_deeply([ grep { /cache lookup|unexpected|invalid memory|unrecognized node|\(null\)|%[ds]/ } @answers ], [], "$where: none reads like one");
	only("$where: NULL is refused", $refused, sub { $here->(@_) && $_[0]{value} eq 'NULL' && !$may_be_null{"$_[0]{name} $_[0]{argument}"} && !$strict{ $_[0]{name} } }, @answers);
	only("$where: names are neither empty nor too long", qr/^22023\|/,
		sub { $here->(@_) && $names{ $_[0]{argument} } && $_[0]{type} eq 'text' && $_[0]{value} =~ /^(?:''|repeat)/ && !$strict{ $_[0]{name} } }, @answers);
	only("$where: nor are those of whom a slot is asked", qr/^22023\|/, sub { $here->(@_) && $_[0]{name} eq 'slot_of' && $_[0]{value} =~ /^(?:''|repeat)/ }, @answers);
	only("$where: no time is negative", qr/^22023\|/, sub { $here->(@_) && $_[0]{type} eq 'interval' && $_[0]{value} =~ /^'-(?:1 us|infinity)'/ }, @answers);
	only("$where: no list has two dimensions", qr/^22023\|/, sub { $here->(@_) && $_[0]{type} =~ /\[\]$/ && $_[0]{value} =~ /^'\{\{/ && $_[0]{name} ne 'execute_on_nodes' }, @answers);
	return;
}

# ---- By a client ----

sub is_called_alone { my ($call) = @_; return !$of_handlers{ $call->{name} } && !$of_its_own{ $call->{name} } && $call->{name} !~ /^(?:outside|execute_on_nodes)$/; }
my @answers = attempts($session, map { "SELECT $_->{call}" } @bad);
judge('by a client', \&is_called_alone, @answers);
only('a subscription starts now, at the beginning or at some time', qr/^22(?:023|004)\|/, sub { $_[0]{name} eq 'subscribe' && $_[0]{argument} eq 'start_from' }, @answers);
is_deeply(others(qr/^(?:00000$|(?:22023|25001|55000|VA00[46]|42704|42501)\|)/, \@good, attempts($session, map { "SELECT $_->{call}" } @good)), [], 'what is right is done, but for what cannot be done here');

# Who has no rights at all may ask what belongs to nobody, and finds no turn and no message of his.
$session->query('SET ROLE stranger');
my @righted = grep { $_->{name} !~ /^(?:has_type_privilege|type_table|cdc_stats|doctor|slot_of|merge|increment|counter|cancel|complete_many)$/ && !$of_handlers{ $_->{name} } } @good;
is_deeply(others(qr/^(?:42501\||VA006\||55000\|actorstore\.outside)/, \@righted, attempts($session, map { "SELECT $_->{call}" } @righted)), [], 'nothing without a right');
$session->query('RESET ROLE');

# ---- In a handler ----

sub in_handler { my ($statement) = @_; return qq{SELECT actorstore.call('inside', 'h', 'm', to_jsonb(\$in\$$statement\$in\$::text)) #>> '{}'}; }
sub inside
{
	my (@statements) = @_;
	my @answers;

	while (my @some = splice @statements, 0, 100)
	{
		$session->start(join ";\n", map { "SELECT '$_ ' || (" . in_handler($some[$_]) . ')' } 0 .. $#some);
		my @lines = split /\n/, $session->finish;
		push @answers, map { my $n = $_; (map { /^$n (.*)$/ ? $1 : () } @lines)[0] // "no answer: $some[$n]: @lines" } 0 .. $#some;
	}
	return @answers;
}
judge('in a handler', sub { is_called_alone(@_) ? $_[0]{name} !~ /^(?:ask|checkout|complete|complete_many|fail|extend_lease|subscribe|unsubscribe|fetch|ack|init_node|rebalance)$/ : $of_handlers{ $_[0]{name} } },
	inside(map { "SELECT $_->{call}" } @bad));

# ---- In a transaction that may not write, and on a standby ----

# These write nothing.  has_type_privilege to counter: about the database as it is; ask and tell stand outside of the transaction.
my %reads = map { $_ => 1 } qw(get get_all list type_table has_type_privilege cdc_stats doctor locate replicas slot_of node_check merge increment counter outside);
my @writing = grep { !$reads{ $_->{name} } && !$of_handlers{ $_->{name} } && !$of_its_own{ $_->{name} } && $_->{name} ne 'execute_on_nodes' } @good;
is_deeply(others(qr/^25006\|/, [ grep { $_->{name} !~ /^(?:ask|tell)$/ } @writing ], attempts($session, map { "SET TRANSACTION READ ONLY; SELECT $_->{call}" } grep { $_->{name} !~ /^(?:ask|tell)$/ } @writing)), [],
	'nothing is written where nothing may be');
is_deeply(others(qr/^(?:00000$|(?:55000|42704)\|)/, [ grep { $reads{ $_->{name} } } @good ], attempts($session, map { "SET TRANSACTION READ ONLY; SELECT $_->{call}" } grep { $reads{ $_->{name} } } @good)), [], 'what reads may');

$node->backup('copy');
my $standby = ActorstoreCluster->new('standby');
$standby->init_from_backup($node, 'copy', has_streaming => 1);
$standby->start;
my $there = ActorstoreTest::Session->new($standby, 'd');
is_deeply(others(qr/^25006\|/, \@writing, attempts($there, map { "SELECT $_->{call}" } @writing)), [], 'nor on a standby');
is_deeply(others(qr/^(?:00000$|(?:55000|42704)\|)/, [ grep { $reads{ $_->{name} } } @good ], attempts($there, map { "SELECT $_->{call}" } grep { $reads{ $_->{name} } } @good)), [], 'which can be read');
$there->quit;
$standby->stop;

# ---- In a parallel worker ----

# attempt() would need a subtransaction: errors come as they are.
$node->safe_psql('d', q{CREATE FUNCTION lie(statement text) RETURNS text LANGUAGE plpgsql PARALLEL SAFE AS $$ DECLARE answer text; BEGIN EXECUTE statement INTO answer; RETURN answer; END $$});
$session->query(q{SELECT count(set_config(name, 'on', false)) FROM pg_settings WHERE name IN ('force_parallel_mode', 'debug_parallel_query')});
like($session->query(q{SELECT lie('SELECT pg_backend_pid()')}), qr/^(?!$session->{pid}$)\d+$/, 'a worker');
my @in_worker = map { $session->query("SELECT lie(\$l\$SELECT $_->{call}\$l\$)") } @writing;
is_deeply(others(qr/^ERROR:  25000/, \@writing, @in_worker), [], 'what writes or waits is not for parallel workers');
$session->query(q{SELECT count(set_config(name, 'off', false)) FROM pg_settings WHERE name IN ('force_parallel_mode', 'debug_parallel_query')});

# ---- Nothing has come of it ----

$session->quit;
is($node->safe_psql('d', 'SELECT pg_postmaster_start_time()'), $started, 'the server has lived on');
is_deeply(contents($node, 'd'), $contents, 'and nothing has changed');
is($node->safe_psql('d', 'SELECT (SELECT count(*) FROM actorstore.message) + (SELECT count(*) FROM actorstore.dead_message) + (SELECT count(*) FROM actorstore.lease) + (SELECT count(*) FROM actorstore.node)'), '0', 'nothing is left over');
is($node->safe_psql('d', q{SELECT count(*) FROM pg_replication_slots WHERE slot_name LIKE 'actorstore%'}), '1', 'no slot but the one there was');
$node->stop;
done_testing();
