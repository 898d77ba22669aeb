# Random JSON merge patches, as a model of RFC 7396 in Perl says what they make
# of random values: its MergePatch() on trees whose leaves are texts of JSON.
# ACTORSTORE_STORM_SECONDS lets it go on longer, ACTORSTORE_STORM_SEED repeats.
# What it ever finds wrong belongs into sql/patch.sql.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";

use ActorstoreTest;
use Test::More;

my $seconds = $ENV{ACTORSTORE_STORM_SECONDS} || 3;
my $seed = srand($ENV{ACTORSTORE_STORM_SEED} // int(rand(2**31)));
note "ACTORSTORE_STORM_SEED=$seed ACTORSTORE_STORM_SECONDS=$seconds";

my $node = new_node('patches');
new_database($node, 'd');
$node->safe_psql('d', q{SELECT actorstore.create_type('p')});

# ---- Trees: a leaf's text, [\@items], or {members} ----

# Few, so that they meet; of the same length, and one the beginning of another, as jsonb orders them by length.
my @keys = ('', ' ', 'a', 'b', 'A', 'aa', 'ab', 'abc', '\u00e9', 'é', 'e\u0301', '日', '\"', '\\\\', '\n', '\ud83d\ude00', '0', 'null', 'k' x 200);
my @leaves = ('null', 'null', 'null', 'true', 'false', '0', '-0', '1', '1.0', '1.50', '1e3', '-2E-3', '12345678901234567890.0123456789', '""', '"null"', '"a"',
	'"\\\\"', '"\""', '"\u0001"', '"é日"', '"' . 'x' x 500 . '"');

sub random_tree
{
	my ($depth, $object) = @_;
	my $kind = $object ? 9 : rand(10);

	return $leaves[ rand @leaves ] if $depth == 0 || $kind < 4;
	return [ map { random_tree($depth - 1) } 1 .. rand(4) ] if $kind < 5;
	return { map { $keys[ rand @keys ] => random_tree($depth - 1) } 1 .. rand(6) };
}

# Two ways to write one key are one member; these have but one.
my %same = ('\u00e9' => 'é');

sub clean
{
	my ($tree) = @_;

	return [ map { clean($_) } @$tree ] if ref $tree eq 'ARRAY';
	return $tree unless ref $tree;
	return { map { ($same{$_} // $_) => clean($tree->{$_}) } sort keys %$tree };
}

sub text
{
	my ($tree) = @_;

	return '[' . join(',', map { text($_) } @$tree) . ']' if ref $tree eq 'ARRAY';
	return $tree unless ref $tree;
	return '{' . join(',', map { qq{"$_":} . text($tree->{$_}) } keys %$tree) . '}';
}

# The value with some of its keys written the other way.
sub rewritten { my ($text) = @_;
	$text =~ s{é}{rand() < 0.5 ? '\u00e9' : 'é'}ge;
	return $text;
}

# ---- RFC 7396, section 2 ----

sub merge_patch
{
	my ($target, $patch) = @_;
	my %result;

	return $patch unless ref $patch eq 'HASH';
	%result = %$target if ref $target eq 'HASH';
	foreach my $name (keys %$patch)
	{
		my $value = $patch->{$name};

		if (!ref $value && $value eq 'null') { delete $result{$name}; }
		else { $result{$name} = merge_patch($result{$name}, $value); }
	}
	return \%result;
}

# ---- Thousands at once ----

sub quoted { my ($text) = @_; return "'" . $text =~ s/'/''/gr . "'"; }

my ($n, $wrong, $objects) = (0, 0, 0);
my $end = time + $seconds;
do
{
	my @rows;

	foreach my $i (1 .. 1000)
	{
		my $target = clean(random_tree(1 + int(rand(4)), rand() < 0.8));
		my $patch = clean(random_tree(1 + int(rand(3)), rand() < 0.9));
		my $result = merge_patch($target, $patch);

		$objects++ if ref $target eq 'HASH' && ref $patch eq 'HASH';
		push @rows, "($i, " . join(', ', map { quoted($_) } rewritten(text($target)), rewritten(text($patch)), text($result)) . ')';
	}
	my @failures = rows($node, 'd', q{
		CREATE TEMP TABLE tried (n int, target jsonb, patch jsonb, result jsonb);
		INSERT INTO tried VALUES } . join(",\n", @rows) . q{;
		DO $$ BEGIN PERFORM actorstore.put('p', n::text, target) FROM tried; END $$;
		SELECT n, target, patch, result, p.value
		FROM tried, LATERAL actorstore.patch('p', n::text, patch) AS p
		WHERE p.value::text <> result::text OR p.value <> result;
		DROP TABLE tried});

	diag $_ foreach @failures;
	$wrong += @failures;
	$n += @rows;
} while (time < $end && $wrong == 0);

is($wrong, 0, 'each is what RFC 7396 says');
cmp_ok($objects, '>', $n / 3, 'of which many were patches of objects');
note "$n patches";

done_testing();
