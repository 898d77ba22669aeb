# The README and the manuals, held against what there is: what stands there for psql is run, and the functions, views and
# settings that they name are those that there are.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";

use ActorstoreTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $root = "$FindBin::RealBin/../..";
my %text = map { ($_ => slurp_file($_)) } "$root/README.md", glob "$root/docs/*.md";
my $readme = $text{"$root/README.md"};
my $node = new_node('main', plugins => 'pgoutput, test_decoding, actorstore', settings => "wal_level = logical\nactorstore.workers = 2");
sub sql { return $node->safe_psql('d', $_[0]); }

# ---- The first ten minutes ----

my ($minutes) = $readme =~ /^## The first ten minutes$(.*?)^## /ms or die 'the README has no first ten minutes';
my @blocks = grep { !/cron\./ } $minutes =~ /^```sql\n(.*?)^```$/msg;
is(scalar(@blocks), 3, 'three blocks for psql');
$node->safe_psql('postgres', "CREATE DATABASE d TEMPLATE template0 ENCODING 'UTF8'");
my @said;
foreach my $n (0 .. $#blocks)
{
	# where a reader sleeps, we wait as long as it takes
	foreach my $part (split /^SELECT pg_sleep\(.*?\);$/m, $blocks[$n])
	{
		my ($status, $said, $complaints) = $node->psql('d', $part, on_error_stop => 1);
		is("$status $complaints", '0 ', "block $n: without an error or a warning");
		$said[$n] .= "$said\n";
		ok($node->poll_query_until('d', 'SELECT NOT EXISTS (SELECT FROM actorstore.message)'), 'no mail waits');
	}
}
like($said[0], qr/^1\|\{"items": \{"apple": 1\}, "owner": "ada"\}\n2\|\{"items": \{"pear": 2, "apple": 1\}, "owner": "ada"\}$/m, 'each write adds 1 to the version');
like($said[0], qr/^t\|3\|.*"fig": 7.*\nf\|3\|.*"fig": 7/m, 'only if nobody was faster');
like($said[0], qr/^c-2\nc-3$/m, 'a page');
like($said[0], qr/^1\n\{"owner": "bob"\}$/m, 'everything belongs to the transaction');
like($said[0], qr/^4\n4\n\z/m, 'who may read');
like($said[1], qr/^b-1\|apple\|2$/m, 'delivered, and written to a table');
like($said[1], qr/^fig\|\{"left": 99\}$/m, 'and sent on');
like($said[1], qr/^\{"left": 97\}\n\n\{"left": [47]\}\n\{"left": 94\}$/m, 'asked, told, called and undone');
like($said[1], qr/^b-1\|eat\|no handler\|actor type "basket" has no handler for message "eat"$/m, 'what cannot be handled is kept');
like($said[2], qr/^[0-9A-F]{16}-[0-9A-F]{8}\|UPDATE\|c-1\|\{"owner": "bob"\}\|\{"owner": "fay"\}$/m, 'what happens is followed');

# ---- The manuals' examples ----

like(sql(q{SELECT actorstore.create_type('meter'); }
	  . ($text{"$root/docs/messages.md"} =~ /^(    CREATE FUNCTION add_up.*?;\n.*?;)$/ms)[0]
	  . q{ SELECT actorstore.send_many('meter', '{a,a,a}', 'add', '{1,2,3}')}), qr/3$/, 'a counter, in one call for all that came');
ok($node->poll_query_until('d', q{SELECT (actorstore.get('meter', 'a')).value = '6'}), 'counts');
is(sql(join '', ($text{"$root/docs/state.md"} =~ /^(    SELECT coalesce.*?;\n    SELECT coalesce.*?;)$/ms)), "3\n3", 'the highest version of a type');
my @outside = $text{"$root/docs/outside.md"} =~ /^(SELECT actorstore\.(?:set_handler|grant_type)\(.*?;)/mg;
is(scalar(@outside), 2, 'a type is handled outside');
is(sql("CREATE ROLE payment_service; SELECT actorstore.create_type('order'); @outside"), "\n\n", 'by whom it says');

# ---- Functions ----

my ($functions) = $readme =~ /^## Functions$(.*?)^## Errors$/ms or die 'the README has no functions';
my @rows = map { (split /(?<!\\)\|/)[1] } $functions =~ /^(\| .*)$/mg;
my $internal = q{'^(internal: |for other nodes: |implementation of |input$|output$|binary |hash$|less than, equal)'};
my %arguments;
push @{ $arguments{ (split /\|/)[0] } }, (split /\|/)[1] // ''
  foreach rows($node, 'd', qq{SELECT proname, (SELECT string_agg(proargnames[n], ', ' ORDER BY n) FROM generate_series(1, pronargs) AS n)
	FROM pg_proc WHERE pronamespace = 'actorstore'::regnamespace AND prokind = 'f' AND obj_description(oid, 'pg_proc') !~ $internal});
my (%named, @wrong);
foreach my $call (map { /`([^`]+)`/g } @rows)
{
	my ($name, $list) = $call =~ /^(\w+)(?:\((.*)\))?$/ or next;
	next unless $arguments{$name};
	$named{$name} = 1;
	next if !defined $list || $list =~ /…|=>|^jsonb/;
	my $said = join ', ', map { s/\[\]$//r } split /, /, $list;
	push @wrong, "$call: $said" unless grep { $_ eq $said || $_ =~ /^\Q$said\E, (?:force|max_messages)/ } @{ $arguments{$name} };
}
is_deeply(\@wrong, [], 'the README has the arguments of functions in their order');
is_deeply([ grep { !$named{$_} } sort keys %arguments ], [], 'it has all functions that users may call');

# Of each view a row, in which each column stands; or the columns stand in operations.md.
my %row_of = map { /^\| `(\w+)`[,:]? .*?\| (.*) \|$/ ? ($1 => $2) : () } split /\n/, $text{"$root/docs/views.md"};
$row_of{trace} = join '', $text{"$root/docs/operations.md"} =~ /^## Following messages$(.*?)^## /ms;
is_deeply([ grep { my ($view, $column) = split /\|/; ($row_of{$view} // '') !~ /`\Q$column\E`/ } rows($node, 'd', q{SELECT relname, attname FROM pg_attribute JOIN pg_class ON attrelid = pg_class.oid
	WHERE relnamespace = 'actorstore'::regnamespace AND relkind = 'v' AND attnum > 0 ORDER BY 1, attnum}) ], [], 'all columns of views are explained');
my %columns = map { $_ => 1 } rows($node, 'd', q{SELECT relname || ' ' || attname FROM pg_attribute JOIN pg_class ON attrelid = pg_class.oid WHERE relnamespace = 'actorstore'::regnamespace AND relkind = 'v'});
my %words = map { $_ => 1 } qw(once all skip paused stopped restarting running looking sleeping reading streaming lost up suspect down unknown coordinator participant committed prepared begin active preparing committing aborting aborted
	mailbox checkout read serve pg_monitor);
is_deeply([ map { my $view = $_; map { $columns{"$view $_"} || $words{$_} ? () : "$view $_" } $row_of{$view} =~ /`([^`]+)`/g } grep { $_ ne 'trace' } sort keys %row_of ], [], 'and none that there is not');

my %result_of = map { /^\| `(\w+)\(\)` \| (.*) \|$/ ? ($1 => $2) : () } split /\n/, $text{"$root/docs/views.md"};
is_deeply([ grep { my ($function, $column) = split /\|/; ($result_of{$function} // '') !~ /`\Q$column\E`/ } rows($node, 'd', qq{SELECT proname, proargnames[n] FROM pg_proc, generate_series(1, cardinality(proargmodes)) AS n
	WHERE pronamespace = 'actorstore'::regnamespace AND prokind = 'f' AND proargmodes[n] <> 'i' AND obj_description(pg_proc.oid, 'pg_proc') !~ $internal ORDER BY 1, n}) ], [], 'and all columns that functions return');

my $everything = join '', values %text;
is_deeply([ grep { $functions !~ /`\Q$_\E`/ } rows($node, 'd', q{SELECT relname FROM pg_class WHERE relnamespace = 'actorstore'::regnamespace AND relkind = 'v' ORDER BY 1}) ], [], 'and all views');
is_deeply([ grep { $everything !~ /`\Q$_\E[`(]/ && $everything !~ /actorstore\.\Q$_\E\b/ } grep { !/^(?:coordinator|fault)$/ } rows($node, 'd', q{SELECT substr(name, 12) FROM pg_settings WHERE name LIKE 'actorstore.%' ORDER BY 1}) ], [],
	'the manuals have all settings');
my %settings = map { $_ => 1 } rows($node, 'd', q{SELECT name FROM pg_settings WHERE name LIKE 'actorstore.%'});
is_deeply([ grep { !$settings{$_} } $everything =~ /^(?:ALTER SYSTEM SET |SET |    )?(actorstore\.\w+)(?: = |\t)/mg ], [], 'and none that there is not');

# ---- Settings, with their defaults ----

my %unit = (us => 0.001, ms => 1, s => 1000, min => 60000, h => 3600000, B => 1, kB => 1024, MB => 1024**2, GB => 1024**3);
sub plain { my ($number, $unit) = @_; return $unit && $unit{$unit} ? $number * $unit{$unit} : $number; }
my (@other, %seen);
foreach my $row (map { [ (split /(?<!\\)\|/)[ 1, 2 ] ] } map { /^(\| `actorstore\..*)$/mg } values %text)
{
	my @names = map { s/^actorstore\.//r } $row->[0] =~ /`([^`]+)`/g;
	my @defaults = split /, /, $row->[1] =~ s/^ +| +$//gr;

	foreach my $n (0 .. $#names)
	{
		my $there = sql("SELECT boot_val || ' ' || coalesce(unit, '') FROM pg_settings WHERE name = 'actorstore.$names[$n]'");
		my $says = $defaults[$n] // 'nothing';
		$seen{ $names[$n] } = 1;
		next if $says eq 'none' && $there eq ' ';
		my ($is) = $there =~ /^(\S*)/;
		my ($number, $unit) = $says =~ /^(-?[\d.]+)(?: (\w+))?$/;
		push @other, "$names[$n]: $says, not $there" unless $says eq $is || (defined $number && plain($number, $unit) == plain(split / /, $there));
	}
}
is_deeply(\@other, [], 'defaults are as they say');
cmp_ok(scalar(keys %seen), '>', 30, 'of many settings');

# ---- Who is told of what ----

my ($errors) = $readme =~ /^## Errors$(.*?)^## /ms or die 'the README has no errors';
my %said_of = map { $_ => 1 } map { /\b(?=\w*\d)([0-9A-Z]{5})\b/g } map { (split /\|/)[1] } $errors =~ /^(\| .*)$/mg;
is_deeply([ grep { !$said_of{$_} } grep { !/^00000$/ } sort keys %{ { map { $_ => 1 } map { /\b([0-9][0-9A-Z]{4}|VA\d{3}|P0\d{3})\b/g } map { (split /(?<!\\)\|/)[3] // () } $functions =~ /^(\| .*)$/mg } } ], [], 'the SQLSTATEs of functions are explained');

$node->stop;
done_testing();
