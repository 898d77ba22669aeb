# docs/ha.md, "Several data centres", done as it says: what stands there is what is run here, but for
# the places of servers.  Logical copies of two nodes equal them in the end, whatever happens in between; a
# standby that follows a standby takes over, and lacks what it had not got.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";

BEGIN { delete $ENV{ACTORSTORE_TLS}; }	# the conninfos are made here
use ActorstoreCluster;
use ActorstoreTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $text = slurp_file("$FindBin::RealBin/../../docs/ha.md") =~ s/.*^## Several data centres$//msr;

# The block of code that begins with these words.
sub block
{
	my ($words) = @_;

	$text =~ /^```\w*\n\W+\Q$words\E.*?\n(.*?)^```$/ms or die "the document does not say: $words";
	return $1 =~ s/\bdbname=bank\b/dbname=d/gr;
}

my ($alpha, $beta) = new_cluster('alpha', 'beta', { streaming => 'logical',
	settings => "max_worker_processes = 24\nactorstore.resolver_interval = 100ms\nactorstore.peer_timeout = 60s\nwal_keep_size = 256MB\nmax_wal_senders = 10\nmax_replication_slots = 10" });
my $copy = new_node('copy', preload => 0, settings => "max_worker_processes = 24\nmax_logical_replication_workers = 10");
my %node = (alpha => $alpha, beta => $beta);

# Run it there.
sub at
{
	my ($node, $database, $sql) = @_;
	my ($status, $said, $complaints) = $node->psql($database, $sql, on_error_stop => 1);

	is($status, 0, $node->name . ", $database: " . ($sql =~ /^(?!--)(.{0,50})/m)[0]) or diag($complaints);
	return $said;
}

# ---- Labels ----

at($alpha, 'd', block('On any node.'));
is($beta->safe_psql('d', q{SELECT string_agg(concat_ws(' ', node_name, datacenter, rack), ', ' ORDER BY 1) FROM actorstore.node}), 'alpha fra r1, beta fra r2', 'where they are');

# ---- Copies ----

$alpha->safe_psql('d', q{SELECT actorstore.create_type('cart'), actorstore.create_type('account')});
my %of;
push @{ $of{ (split /\|/)[0] } }, (split /\|/)[1] foreach rows($alpha, 'd', q{SELECT actorstore.locate('account', 'a' || i), 'a' || i FROM generate_series(1, 300) AS i});

sub put_some { my ($type, $from, $to) = @_; return $alpha->safe_psql('d', qq{SELECT count(*) FROM actorstore.put_many('$type', ARRAY(SELECT 'a' || i FROM generate_series($from, $to) AS i), ARRAY(SELECT to_jsonb(i) FROM generate_series($from, $to) AS i))}); }

put_some('cart', 1, 300);
put_some('account', 1, 300);
put_some('loose', 1, 50);

# Here hosts are directories, and ports differ.
sub hosts { my ($name, $sql) = @_; my $node = $node{$name}; return $sql =~ s/copy_of_alpha/copy_of_$name/gr =~ s/host=\S+/'host=' . $node->host . ' port=' . $node->port/ger; }

at($_, 'd', block('On each node, in the database "bank".')) foreach $alpha, $beta;
my $make = block('In the database "bank_alpha" of the copy');
foreach my $name (qw(alpha beta))
{
	$copy->safe_psql('postgres', "CREATE DATABASE bank_$name TEMPLATE template0 ENCODING 'UTF8'");
	at($copy, "bank_$name", hosts($name, $make));
}
$copy->safe_psql('postgres', "CREATE DATABASE bank TEMPLATE template0 ENCODING 'UTF8'");
at($copy, 'bank', block('In the database "bank" of the copy') =~ s{OPTIONS \(}{"OPTIONS (host '" . $copy->host . "', port '" . $copy->port . "', "}ger);

my $states = q{SELECT concat_ws(' ', actor_type, actor_id, version, md5(value::text), extract(epoch FROM created_at), extract(epoch FROM updated_at))};

# What is on each node is in its database, sooner or later, and nothing else.
sub equal
{
	my ($what) = @_;

	local $Test::Builder::Level = $Test::Builder::Level + 1;
	foreach my $name (qw(alpha beta))
	{
		$copy->poll_query_until("bank_$name", q{SELECT count(*) FILTER (WHERE srsubstate IN ('r', 's')) = 1 FROM pg_subscription_rel}) or die "$name: not copied";
		$node{$name}->wait_for_catchup("copy_of_$name");
		is_deeply([ sort(rows($copy, "bank_$name", "$states FROM actorstore.actor")) ], [ sort(rows($node{$name}, 'd', "$states FROM actorstore.actor")) ], "$what: the copy of $name");
	}
	return;
}
equal('at first');
is($copy->safe_psql('bank', q{SET ROLE reader; SELECT count(*), count(DISTINCT (actor_type, actor_id)), count(DISTINCT node_name) FROM actor}), '650|650|2', 'all nodes together, for who may only read');
is(sqlstate($copy, 'bank', "SET ROLE reader; $_"), '42501', "no more: $_") foreach q{DELETE FROM alpha.actor}, q{SELECT FROM alpha.actor};
is(sqlstate($copy, 'bank_alpha', "SET ROLE reader; $_"), '42501', "nor there: $_") foreach q{UPDATE actorstore.actor SET version = 0};

# All that happens to actors; by transactions over both nodes, by some that fail, on both nodes at once.
my ($here, $there) = ($of{alpha}[0], $of{beta}[0]);
$alpha->safe_psql('d', qq{SELECT actorstore.update('account', '$_', to_jsonb(1)) FROM generate_series(1, 3)}) foreach $here, $there;
my @sessions = map { ActorstoreTest::Session->new($_, 'd') } $alpha, $beta;
foreach my $i (0, 1)
{
	$sessions[$i]->start(join '; ', map { my ($from, $to) = ($of{alpha}[ $_ * 2 + $i ], $of{beta}[ $_ * 2 + $i ]);
			"BEGIN; SELECT actorstore.put('account', '$from', '-$_'), actorstore.put('account', '$to', '$_'); " . ($_ % 5 ? 'COMMIT' : 'ROLLBACK') } 0 .. 30);
}
$_->finish foreach @sessions;
$alpha->safe_psql('d', qq{SELECT actorstore.delete('cart', 'a' || i) FROM generate_series(1, 100) AS i});
$alpha->safe_psql('d', qq{SELECT actorstore.insert('cart', 'a' || i, '"again"') FROM generate_series(1, 10) AS i});
$alpha->safe_psql('d', qq{SELECT actorstore.put('cart', '$_', jsonb_build_object('n', 0, 'much', (SELECT string_agg(md5(i::text), '') FROM generate_series(1, 30000) AS i)))}) foreach $here, $there;
$alpha->safe_psql('d', qq{SELECT actorstore.patch('cart', '$_', '{"n": 1}')}) foreach $here, $there;
$beta->safe_psql('d', q{BEGIN; SELECT actorstore.put('cart', 'a' || i, '"never"') FROM generate_series(1, 300) AS i; ROLLBACK});
equal('all kinds of writes');

# Types come and go.
$alpha->safe_psql('d', q{SELECT actorstore.create_type('loose'), actorstore.create_type('new'), actorstore.create_type('old'), actorstore.create_type('kept')});
put_some($_, 1, 40) foreach qw(loose new old kept);
$alpha->safe_psql('d', q{SELECT actorstore.drop_type('old')});
equal('types come and go');
$alpha->safe_psql('d', q{SELECT actorstore.drop_type('kept', events => false)});
$alpha->wait_for_catchup('copy_of_alpha');
cmp_ok($copy->safe_psql('bank_alpha', q{SELECT count(*) FROM actorstore.actor WHERE actor_type = 'kept'}), '>', 0, 'without events the copy keeps them');
$copy->safe_psql("bank_$_", q{DELETE FROM actorstore.actor WHERE actor_type = 'kept'}) foreach qw(alpha beta);

# Servers are killed and the copy is down meanwhile.
$copy->stop('immediate');
put_some('cart', 200, 400);
$alpha->stop('immediate');
$alpha->start;
$copy->start;
put_some('account', 250, 350);
$beta->stop('immediate');
$beta->start;
ok(comes_true($alpha, 'd', q{(SELECT ok FROM actorstore.node_check('beta'))}), 'both are back');
equal('after crashes');

# One table for both nodes, which the document advises against.
$copy->safe_psql('postgres', "CREATE DATABASE bank_both TEMPLATE template0 ENCODING 'UTF8'");
$copy->safe_psql('bank_both', hosts('alpha', $make) =~ s/copy_of_alpha/both_alpha/r);
$copy->safe_psql('bank_both', hosts('beta', $make =~ s/^CREATE (?:SCHEMA|TABLE).*?;$//msgr) =~ s/copy_of_beta/both_beta/r);
ok($copy->poll_query_until('bank_both', q{SELECT count(*) FILTER (WHERE srsubstate IN ('r', 's')) = 2 FROM pg_subscription_rel}), 'two nodes in one table');
$copy->safe_psql('bank_both', 'ALTER SUBSCRIPTION both_beta DISABLE');

# Slots move, with their actors, to the other node and back; one copy is behind.
my $before = $copy->safe_psql('bank', q{SELECT count(*) FROM actor});
foreach my $weight (0, 100)
{
	$copy->safe_psql('bank_beta', 'ALTER SUBSCRIPTION copy_of_beta DISABLE');
	$alpha->safe_psql('d', "SELECT actorstore.set_node_weight('beta', $weight); SELECT FROM actorstore.rebalance(false)");
	ok(have_moved($alpha, $beta), "beta has weight $weight");
	put_some('new', 1, 40);
	$copy->safe_psql('bank_beta', 'ALTER SUBSCRIPTION copy_of_beta ENABLE');
	equal("beta has weight $weight");
	is($copy->safe_psql('bank', q{SELECT count(*), count(DISTINCT (actor_type, actor_id)) FROM actor}), "$before|$before", 'nobody is missing, nobody there twice');
}

ok($copy->poll_query_until('bank_both', q{SELECT apply_error_count > 0 FROM pg_stat_subscription_stats WHERE subname = 'both_alpha'}), 'where one table is for both, what has moved is in its own way');
$copy->safe_psql('bank_both', "DROP SUBSCRIPTION $_") foreach qw(both_alpha both_beta);

# Of a type that is unlogged nothing comes, and nothing goes.
$alpha->safe_psql('d', q{SELECT actorstore.create_type('fleeting', persistence => 'unlogged'), actorstore.alter_type('new', persistence => 'unlogged')});
my $of_new = $copy->safe_psql('bank', q{SELECT count(*) FROM actor WHERE actor_type = 'new'});
put_some($_, 1, 60) foreach qw(fleeting new);
$alpha->safe_psql('d', q{SELECT actorstore.delete('new', 'a1')});
$_->wait_for_catchup('copy_of_' . $_->name) foreach $alpha, $beta;
is($copy->safe_psql('bank', q{SELECT string_agg(DISTINCT concat_ws(' ', actor_type, n), ', ') FROM (SELECT actor_type, count(*) AS n FROM actor WHERE actor_type IN ('new', 'fleeting') GROUP BY 1) AS x}), "new $of_new", 'unlogged types');
$alpha->safe_psql('d', q{SELECT actorstore.drop_type('fleeting'), actorstore.drop_type('new')});
$copy->safe_psql("bank_$_", q{DELETE FROM actorstore.actor WHERE actor_type = 'new'}) foreach qw(alpha beta);

# Some types only; and a database with the extension, which can be asked there.
$alpha->safe_psql('d', q{CREATE PUBLICATION carts FOR TABLE actorstore.actor WHERE (actor_type IN ('cart', 'order')) WITH (publish_via_partition_root)});
new_database($copy, 'asked');
$copy->safe_psql('asked', q{SELECT actorstore.create_type('cart')});
$copy->safe_psql('asked', hosts('alpha', $make =~ s/^CREATE (?:SCHEMA|TABLE).*?;$//msgr) =~ s/copy_of_alpha/some_of_alpha/r =~ s/PUBLICATION actors/PUBLICATION carts/r);
$copy->poll_query_until('asked', q{SELECT count(*) FILTER (WHERE srsubstate IN ('r', 's')) = 1 FROM pg_subscription_rel});
put_some('cart', 300, 500);
$alpha->wait_for_catchup('some_of_alpha');
is_deeply([ sort(rows($copy, 'asked', "$states FROM actorstore.get_all('cart')")) ], [ sort(rows($alpha, 'd', "$states FROM actorstore.actor WHERE actor_type = 'cart'")) ], 'one type, asked by the extension');
is($copy->safe_psql('asked', q{SELECT count(*) FROM actorstore.actor WHERE actor_type <> 'cart'}), '0', 'and no other one');
$copy->safe_psql('asked', 'DROP SUBSCRIPTION some_of_alpha');

# ---- Standbys ----

sub standby_of
{
	my ($node, $name, @options) = @_;
	my $standby = ActorstoreCluster->new($name);
	my $command = block('On ams_1, as postgres') =~ s/ams_1/$name/gr =~ s/\bDATA\b/$standby->data_dir/ger =~ s/host=\w+ user=\w+/$node->connstr . ' user=postgres'/er =~ s/pg_basebackup/$node->installed_command('pg_basebackup') . ' --no-sync -c fast'/er;

	system_or_bail('bash', '-c', "set -e; $command");
	$standby->append_conf('postgresql.conf', 'port = ' . $standby->port . "\nunix_socket_directories = '" . $standby->host . q{'});
	$standby->start;
	return $standby;
}
my $near = standby_of($alpha, 'fra_2');
my $far = standby_of($near, 'ams_1');
$alpha->safe_psql('postgres', q{ALTER SYSTEM SET synchronous_standby_names = 'ANY 1 (fra_2)'});
$alpha->reload;
ok($alpha->poll_query_until('postgres', q{SELECT sync_state = 'quorum' FROM pg_stat_replication WHERE application_name = 'fra_2'}), 'COMMIT waits for the near one');
is(at($alpha, 'd', block('On each primary')), 'alpha|fra|||', 'none of its own is elsewhere');
put_some('cart', 1, 20);
ok($far->poll_query_until('d', q{SELECT count(*) = 1 FROM actorstore.get('cart', 'a20')}), 'the far one has it in the end');
like(at($far, 'd', block('On ams_1.') =~ s/^-- On fra_2.*//msr), qr/^\d+\|/, 'it says how far it is behind');
like(at($near, 'd', block('On ams_1.') =~ s/.*^(?=-- On fra_2)//msr), qr/^ams_1\|\d+$/, 'and so does who it follows');

# A third data centre, and what COMMIT waits for.
my $third = standby_of($alpha, 'ber_1');
my %states = (
	'ANY 1 (fra_2)' => 'ber_1 async, fra_2 quorum',
	'ANY 1 (ams_1, ber_1)' => 'ber_1 quorum, fra_2 async',
	'ANY 2 (fra_2, ams_1, ber_1)' => 'ber_1 quorum, fra_2 quorum',
	'FIRST 2 (fra_2, ams_1, ber_1)' => 'ber_1 sync, fra_2 sync');
my $own = $alpha->safe_psql('d', q{SELECT min('own' || i) FROM generate_series(1, 100) AS i WHERE actorstore.locate('cart', 'own' || i) = 'alpha'});
my $waits = ActorstoreTest::Session->new($alpha, 'd');
my $waiting = qq{SELECT count(*) = 1 FROM pg_stat_activity WHERE wait_event = 'SyncRep' AND query LIKE '%''$own''%' AND pid <> pg_backend_pid()};
foreach my $names (sort keys %states)
{
	like($text, qr/^\| `\Q$names\E` \|/m, "the document has $names");
	$alpha->safe_psql('postgres', "ALTER SYSTEM SET synchronous_standby_names = '$names'");
	$alpha->reload;
	ok($alpha->poll_query_until('postgres', q{SELECT string_agg(application_name || ' ' || sync_state, ', ' ORDER BY application_name) FROM pg_stat_replication WHERE application_name ~ '_[12]$'}, $states{$names}), "$names: $states{$names}");
	put_some('cart', 30, 35);
	$third->stop;
	$waits->start(qq{SELECT actorstore.put('cart', '$own', '1')});
	if ($names =~ /fra_2\)|ANY 1 \(fra/)
	{
		ok(comes_true($alpha, 'd', qq{(SELECT count(*) = 1 FROM actorstore.actor WHERE actor_id = '$own')}), "$names: goes on without one that is elsewhere");
	}
	else
	{
		ok($alpha->poll_query_until('postgres', $waiting), "$names: waits where nobody is elsewhere");
	}
	$third->start;
	$waits->finish;
	$alpha->safe_psql('d', qq{SELECT actorstore.delete('cart', '$own')});
}
like(at($alpha, 'd', block('On each primary')), qr/^alpha\|fra\|ber_1\|sync\|/, 'which is elsewhere');
$third->stop('immediate');
$alpha->safe_psql('postgres', q{ALTER SYSTEM SET synchronous_standby_names = 'ANY 1 (fra_2)'; SELECT pg_drop_replication_slot('ber_1')});
$alpha->reload;

# The line is cut; then the data centre is lost.
my $all = sprintf 'host=%s port=%s dbname=d target_session_attrs=read-write', join(',', map { $_->host } $alpha, $near, $far), join(',', map { $_->port } $alpha, $near, $far);
$_->safe_psql('d', "UPDATE actorstore.node SET conninfo = '$all' WHERE node_name = 'alpha'") foreach $alpha, $beta;
my $pair = qq{SELECT actorstore.put('account', '$here', '"%1\$s"'), actorstore.put('account', '$there', '"%1\$s"')};
$alpha->safe_psql('d', sprintf $pair, 'before');
ok($far->poll_query_until('d', qq{SELECT value = '"before"' FROM actorstore.get('account', '$here')}), 'what it has got');
$far->safe_psql('postgres', q{ALTER SYSTEM SET primary_conninfo = ''});
$far->reload;
ok(comes_true($far, 'd', 'NOT EXISTS (SELECT FROM pg_stat_wal_receiver)'), 'it gets nothing any more');
$beta->safe_psql('d', sprintf $pair, 'lost');
ok(comes_true($beta, 'd', q{NOT EXISTS (SELECT FROM actorstore.in_doubt)}), 'a transaction over both nodes, and its end, do not come');
$_->stop('immediate') foreach $alpha, $near;
$far->promote;
ok(comes_true($beta, 'd', q{(SELECT ok FROM actorstore.node_check('alpha'))}), 'the other node finds it');
is($beta->safe_psql('d', "SELECT actor_id = '$here', value FROM actorstore.get_many('account', '{$here,$there}') ORDER BY 1"), qq{f|"lost"\nt|"before"}, 'the transaction is there in part');
$beta->safe_psql('d', sprintf $pair, 'after');
is($far->safe_psql('d', "SELECT value FROM actorstore.get('account', '$_')"), '"after"', "they go on with $_") foreach $here, $there;

# The old primary comes back by mistake, first among the hosts: others go on with the new one, and would rather have none.
$alpha->start;
$beta->safe_psql('d', sprintf($pair, 'later'), kept => 0);
is($far->safe_psql('d', "SELECT value FROM actorstore.get('account', '$here')"), '"later"', 'a new session speaks to the new one');
is($alpha->safe_psql('d', "SELECT value FROM actorstore.actor WHERE actor_type = 'account' AND actor_id = '$here'"), '"lost"', 'what was lost can be read on the old one');
$far->stop;
is(sqlstate($beta, 'd', sprintf($pair, 'never'), kept => 0), '55000', 'without the new one nobody speaks to the old one');
like(($beta->psql('d', sprintf($pair, 'never'), kept => 0))[2], qr/It is an older incarnation \(\d+\) than the one known \(\d+\)/, 'and it says why');
$far->start;
ok(comes_true($beta, 'd', q{(SELECT ok FROM actorstore.node_check('alpha'))}), 'the new one is back');
$alpha->stop('immediate');

# The slot has stayed behind: the copy of that node is made anew.
$node{alpha} = $far;
at($copy, 'bank_alpha', $_) foreach map { "$_;" } split /;\n/, hosts('alpha', block('In "bank_alpha" of the copy'));
$beta->safe_psql('d', q{SELECT actorstore.put('cart', 'x' || i, '1') FROM generate_series(1, 50) AS i});
equal('made anew');

done_testing();
