# Every pair of calls on one actor, the second starting before the first has
# ended: at each isolation level, on an actor that is there and on one that is
# not, with the first committed and rolled back, on a plain partition and on
# one with an index and a trigger of the user's.  What must come out is worked
# out here, from what each call means, not taken from the server.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";

use ActorstoreTest;
use Test::More;

# The state of the actor is undef, or [value, version].  Each call takes it
# and gives what is answered, and the state after it.
my %call = (
	insert => {
		sql => q{SELECT value, version FROM actorstore.insert('%1$s', 'k', '%2$s')},
		run => sub { my ($s, $v) = @_; return $s ? ('23505', $s) : answer($v, 0) }
	},
	put => {
		sql => q{SELECT value, version FROM actorstore.put('%1$s', 'k', '%2$s')},
		run => sub { my ($s, $v) = @_; return answer($v, $s ? $s->[1] + 1 : 0) }
	},
	update => {
		sql => q{SELECT value, version FROM actorstore.update('%1$s', 'k', '%2$s')},
		run => sub { my ($s, $v) = @_; return $s ? answer($v, $s->[1] + 1) : ('P0002', $s) }
	},
	update_versioned => {
		sql => q{SELECT value, version FROM actorstore.update_versioned('%1$s', 'k', '%2$s', 0)},
		run => sub {
			my ($s, $v) = @_;
			return !$s ? ('P0002', $s) : $s->[1] == 0 ? answer($v, 1) : ('40001', $s);
		}
	},
	compare_and_swap => {
		sql => q{SELECT swapped, value, version FROM actorstore.compare_and_swap('%1$s', 'k', 0, '%2$s')},
		run => sub {
			my ($s, $v) = @_;
			return !$s ? ('f||', $s) : $s->[1] == 0 ? ("t|$v|1", [ $v, 1 ]) : ("f|$s->[0]|$s->[1]", $s);
		}
	},
	patch => {
		sql => q{SELECT value, version FROM actorstore.patch('%1$s', 'k', '%2$s')},
		run => sub { my ($s, $v) = @_; return $s ? answer($v, $s->[1] + 1) : ('P0002', $s) }
	},
	delete => {
		sql => q{SELECT value, version FROM actorstore.delete('%1$s', 'k')},
		run => sub { my ($s) = @_; return ($s ? "$s->[0]|$s->[1]" : '|', undef) }
	},
	delete_versioned => {
		sql => q{SELECT value, version FROM actorstore.delete_versioned('%1$s', 'k', 0)},
		run => sub {
			my ($s) = @_;
			return !$s ? ('P0002', $s) : $s->[1] == 0 ? ("$s->[0]|0", undef) : ('40001', $s);
		}
	},
	insert_many => {
		sql => q{SELECT actorstore.insert_many('%1$s', '{k}', '{%2$s}')},
		run => sub { my ($s, $v) = @_; return $s ? ('23505', $s) : ('1', [ $v, 0 ]) }
	},
	put_many => {
		sql => q{SELECT actorstore.put_many('%1$s', '{k}', '{%2$s}')},
		run => sub { my ($s, $v) = @_; return ('1', [ $v, $s ? $s->[1] + 1 : 0 ]) }
	},
	lock_share => {
		sql => q{SELECT value, version FROM actorstore.get_many('%1$s', '{k}', 'share')},
		run => sub { my ($s) = @_; return ($s ? "$s->[0]|$s->[1]" : '', $s) }
	},
	lock_update => {
		sql => q{SELECT value, version FROM actorstore.get_many('%1$s', '{k}', 'update')},
		run => sub { my ($s) = @_; return ($s ? "$s->[0]|$s->[1]" : '', $s) }
	});
my %makes = map { $_ => 1 } qw(insert put insert_many put_many);
my %inserts = map { $_ => 1 } qw(insert insert_many);

sub answer { my ($value, $version) = @_; return ("$value|$version", [ $value, $version ]) }

sub is_error { return $_[0] =~ /^[0-9A-Z]{5}$/ }

sub same { my ($a, $b) = @_; return !defined $a ? !defined $b : defined $b && $a->[0] eq $b->[0] && $a->[1] == $b->[1] }

# What the second answers and what remains.  $before is the committed state
# when both began, $after the one the first leaves if it commits.
sub expected
{
	my ($level, $second, $before, $after, $committed) = @_;
	my $now = $committed ? $after : $before;

	# What is made and not yet committed is seen only by who makes it too.
	if (!$before && $after && !$makes{$second})
	{
		my ($result) = $call{$second}{run}->($before, 2);
		return ($result, $now);
	}
	if ($level ne 'READ COMMITTED' && $committed && !same($before, $after))
	{
		return ($call{$second}{run}->($now, 2)) if $inserts{$second};
		return ('40001', $now);
	}
	my ($result, $state) = $call{$second}{run}->($now, 2);
	return ($result, is_error($result) ? $now : $state);
}

my $node = new_node('races');
new_database($node, 'races');
$node->safe_psql(
	'races', q{
	SELECT actorstore.create_type('plain'), actorstore.create_type('dressed');
	SELECT actorstore.insert('loose', 'other', '0');
	CREATE INDEX ON actorstore.actor_dressed ((value #>> '{}'));
	CREATE FUNCTION nothing() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
	CREATE TRIGGER nothing AFTER INSERT OR UPDATE OR DELETE ON actorstore.actor_dressed FOR EACH ROW EXECUTE FUNCTION nothing();
});
my ($s1, $s2, $look) = map { ActorstoreTest::Session->new($node, 'races') } 1 .. 3;

sub one_race
{
	my ($level, $type, $present, $first, $second, $committed) = @_;

	$look->query("DELETE FROM actorstore.actor WHERE actor_type = '$type' AND actor_id = 'k'");
	$look->query("SELECT actorstore.insert('$type', 'k', '0')") if $present;
	my $before = $present ? [ 0, 0 ] : undef;

	$_->query("BEGIN ISOLATION LEVEL $level; SELECT FROM pg_class LIMIT 0") foreach $s1, $s2;
	my ($result1, $after) = $call{$first}{run}->($before, 1);
	my $got1 = $s1->query(sprintf $call{$first}{sql}, $type, 1);
	$got1 =~ s/^ERROR:  //;
	return "first: got $got1, expected $result1" if $got1 ne $result1;

	$s2->start(sprintf $call{$second}{sql}, $type, 2);
	$s2->blocked($look);
	$s1->query($committed ? 'COMMIT' : 'ROLLBACK');
	my $got2 = $s2->finish;
	$got2 =~ s/^ERROR:  //;
	$s2->query('COMMIT');
	$committed = 0 if is_error($got1);

	my ($result2, $state) = expected($level, $second, $before, $after, $committed);
	my $got_state = $look->query("SELECT value, version FROM actorstore.list('$type', 'k')");
	my $expected_state = $state ? join('|', @$state) : '';

	# Where both have inserted, SERIALIZABLE may call the same thing 40001.
	$got2 = $result2 if $level eq 'SERIALIZABLE' && $result2 eq '23505' && $got2 eq '40001';
	return "second: got $got2, expected $result2" if $got2 ne $result2;
	return "state: got $got_state, expected $expected_state" if $got_state ne $expected_state;
	return '';
}

foreach my $level ('READ COMMITTED', 'REPEATABLE READ', 'SERIALIZABLE')
{
	foreach my $type ('plain', 'dressed', 'loose')
	{
		next if $type eq 'loose' && $level ne 'READ COMMITTED';
		my ($races, @wrong) = (0);
		foreach my $first (sort keys %call)
		{
			foreach my $second (sort keys %call)
			{
				foreach my $present (0, 1)
				{
					foreach my $committed (0, 1)
					{
						my $wrong = one_race($level, $type, $present, $first, $second, $committed);
						$races++;
						push @wrong, "$first, then $second, actor " . ($present ? 'there' : 'missing') .
						  ', first ' . ($committed ? 'committed' : 'rolled back') . ": $wrong" if $wrong;
					}
				}
			}
		}
		is_deeply(\@wrong, [], "$races races at $level on type $type");
		is($races, keys(%call)**2 * 4, 'none left out');
	}
}

$_->quit foreach $s1, $s2, $look;
$node->stop;
done_testing();
