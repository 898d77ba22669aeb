# Is a history of transactions that append to lists and read them strictly
# serializable?  A checker after Elle (Kingsbury, Alvaro: "Elle: Inferring
# Isolation Anomalies from Experimental Observations", VLDB 2020).
#
# Each appended value is appended once to its key, so a list that is read says
# which writes came before, and in which order: the longest one read of each key
# is the order of its versions, all others must be beginnings of it.  From that
# follow edges between transactions:
#
#	ww	wrote the version that the other one's version follows
#	wr	wrote the version that the other one has read
#	rw	has read the version that the other one's version follows
#	rt	had ended before the other one began
#
# A cycle means that there is no order of the transactions one after the other.
# For rt, transactions do not point at each other, which would be n² edges, but
# at instants that point at the next instant and at those that begin then.
#
# A transaction is { status => 'ok' | 'fail' | 'unknown', begin, end (instants),
# ops => [ [ 'append', key, value ], [ 'read', key, [ values ] ], … ] }.  What is
# unknown may have happened, and has if somebody has read it.  Its reads are
# not looked at.
#
#	my ($anomalies, $edges) = ListAppend::check(\@transactions, final => 1);
#
# Anomalies are [ name, text ].  final says that all keys have been read when all
# was over, so that whatever was appended has to be there.

package ListAppend;

use strict;
use warnings;

# Transactions by the values they appended: { key => { value => number } }.
sub writers
{
	my ($history) = @_;
	my (%writer, %last);

	foreach my $n (0 .. $#$history)
	{
		foreach my $op (@{ $history->[$n]{ops} })
		{
			next if $op->[0] ne 'append';
			die "value $op->[2] is appended to $op->[1] twice" if exists $writer{ $op->[1] }{ $op->[2] };
			$writer{ $op->[1] }{ $op->[2] } = $n;
			$last{$n}{ $op->[1] } = $op->[2];
		}
	}
	return (\%writer, \%last);
}

# Does what a transaction reads agree with what it has itself read and written
# before?  Its reads without its own appends: { key => list }.
sub own_reads
{
	my ($n, $transaction, $anomalies) = @_;
	my (%appended, %external);

	foreach my $op (@{ $transaction->{ops} })
	{
		my ($kind, $key, $what) = @$op;
		my $own = $appended{$key} //= [];

		if ($kind eq 'append')
		{
			push @$own, $what;
			next;
		}
		my $before = @$what - @$own;
		my @tail = $before < 0 ? () : @$what[ $before .. $#$what ];
		if ($before < 0 || "@tail" ne "@$own")
		{
			push @$anomalies, [ 'internal', "T$n reads [@$what] of $key after it has appended [@$own]" ];
			next;
		}
		my @others = @$what[ 0 .. $before - 1 ];
		if (exists $external{$key} && "@{ $external{$key} }" ne "@others")
		{
			push @$anomalies, [ 'internal', "T$n reads [@{ $external{$key} }] of $key, then [@others]" ];
			next;
		}
		$external{$key} = \@others;
	}
	return \%external;
}

# The order of each key's versions: the longest list read.
sub version_orders
{
	my ($history) = @_;
	my %longest;

	foreach my $transaction (grep { $_->{status} eq 'ok' } @$history)
	{
		foreach my $op (grep { $_->[0] eq 'read' } @{ $transaction->{ops} })
		{
			my ($key, $list) = @$op[ 1, 2 ];
			$longest{$key} = $list if !exists $longest{$key} || @$list > @{ $longest{$key} };
		}
	}
	return \%longest;
}

# What can be seen in single lists.
sub check_lists
{
	my ($history, $writer, $last, $longest, $anomalies) = @_;

	foreach my $n (grep { $history->[$_]{status} eq 'ok' } 0 .. $#$history)
	{
		foreach my $op (grep { $_->[0] eq 'read' } @{ $history->[$n]{ops} })
		{
			my ($key, $list) = @$op[ 1, 2 ];
			my $order = $longest->{$key};

			foreach my $i (0 .. $#$list)
			{
				next if $list->[$i] eq $order->[$i];
				push @$anomalies, [ 'incompatible order', "T$n reads [@$list] of $key, another one [@$order]" ];
				check_values($key, $list, $history, $writer, $anomalies);
				last;
			}
			next if !@$list;
			my $by = $writer->{$key}{ $list->[-1] };
			push @$anomalies, [ 'G1b', "T$n reads [@$list] of $key, but T$by has appended more" ]
			  if defined $by && $by != $n && $last->{$by}{$key} ne $list->[-1];
		}
	}
	check_values($_, $longest->{$_}, $history, $writer, $anomalies) foreach sort keys %$longest;
	return;
}

# Values that nobody should have read, or not twice.
sub check_values
{
	my ($key, $list, $history, $writer, $anomalies) = @_;
	my %seen;

	foreach my $value (@$list)
	{
		my $by = $writer->{$key}{$value};

		push @$anomalies, [ 'duplicate', "[@$list] of $key holds $value twice" ] if $seen{$value}++ == 1;
		push @$anomalies, [ 'garbage', "[@$list] of $key: nobody has appended $value" ] if !defined $by;
		push @$anomalies, [ 'G1a', "[@$list] of $key: T$by, which has failed, appended $value" ]
		  if defined $by && $history->[$by]{status} eq 'fail';
	}
	return;
}

# What was acknowledged is there in the end.
sub check_lost
{
	my ($history, $longest, $anomalies) = @_;
	my %there;

	foreach my $key (keys %$longest)
	{
		$there{$key}{$_} = 1 foreach @{ $longest->{$key} };
	}
	foreach my $n (grep { $history->[$_]{status} eq 'ok' } 0 .. $#$history)
	{
		foreach my $op (grep { $_->[0] eq 'append' } @{ $history->[$n]{ops} })
		{
			push @$anomalies, [ 'lost append', "T$n has appended $op->[2] to $op->[1], where it is not" ]
			  if !$there{ $op->[1] }{ $op->[2] };
		}
	}
	return;
}

# Edges: a list of [ to, kind, key ] for each node; transactions come first,
# instants behind.
sub build_graph
{
	my ($history, $writer, $longest, $reads) = @_;
	my @edges = map { [] } @$history;
	my %happened = map { $_ => 1 } grep { $history->[$_]{status} eq 'ok' } 0 .. $#$history;
	my $add = sub {
		my ($from, $to, $kind, $key) = @_;
		push @{ $edges[$from] }, [ $to, $kind, $key ] if defined $from && defined $to && $from != $to;
	};

	foreach my $key (sort keys %$longest)
	{
		my @by = map { $writer->{$key}{$_} } @{ $longest->{$key} };

		$happened{$_} = 1 foreach grep { defined } @by;
		$add->($by[$_], $by[ $_ + 1 ], 'ww', $key) foreach 0 .. $#by - 1;
	}
	foreach my $n (sort { $a <=> $b } keys %$reads)
	{
		foreach my $key (sort keys %{ $reads->{$n} })
		{
			my $list = $reads->{$n}{$key};
			my $next = $longest->{$key}[ scalar @$list ];

			$add->($writer->{$key}{ $list->[-1] }, $n, 'wr', $key) if @$list;
			$add->($n, $writer->{$key}{$next}, 'rw', $key) if defined $next;
		}
	}
	add_instants($history, \@edges, sort { $a <=> $b } keys %happened);
	return \@edges;
}

sub add_instants
{
	my ($history, $edges, @happened) = @_;
	my @begin = sort { $history->[$a]{begin} <=> $history->[$b]{begin} } @happened;
	my @end = sort { $history->[$a]{end} <=> $history->[$b]{end} } grep { $history->[$_]{status} eq 'ok' } @happened;

	foreach my $n (@end)
	{
		# all that begin before this end point back to no later instant than the last one
		while (@begin && $history->[ $begin[0] ]{begin} <= $history->[$n]{end})
		{
			my $first = shift @begin;
			push @{ $edges->[-1] }, [ $first, 'rt', '' ] if @$edges > @$history;
		}
		push @{ $edges->[-1] }, [ scalar @$edges, 'rt', '' ] if @$edges > @$history;
		push @{ $edges->[$n] }, [ scalar @$edges, 'rt', '' ];
		push @$edges, [];
	}
	push @{ $edges->[-1] }, map { [ $_, 'rt', '' ] } @begin if @$edges > @$history;
	return;
}

# Strongly connected components of two nodes or more (Tarjan's, without
# recursion), over edges of these kinds.
sub components
{
	my ($edges, $kinds) = @_;
	my ($count, @index, @low, @on, @stack, @found) = (0);

	foreach my $root (0 .. $#$edges)
	{
		next if defined $index[$root];
		my @work = ([ $root, 0 ]);
		while (@work)
		{
			my $frame = $work[-1];
			my ($node, $i) = @$frame;

			if ($i == 0 && !defined $index[$node])
			{
				$index[$node] = $low[$node] = $count++;
				push @stack, $node;
				$on[$node] = 1;
			}
			if ($i < @{ $edges->[$node] })
			{
				my ($to, $kind) = @{ $edges->[$node][$i] };
				$frame->[1]++;
				next if !$kinds->{$kind};
				if (!defined $index[$to]) { push @work, [ $to, 0 ]; }
				elsif ($on[$to] && $index[$to] < $low[$node]) { $low[$node] = $index[$to]; }
				next;
			}
			pop @work;
			$low[ $work[-1][0] ] = $low[$node] if @work && $low[$node] < $low[ $work[-1][0] ];
			next if $low[$node] != $index[$node];
			my @component;
			do { push @component, pop @stack; $on[ $component[-1] ] = 0; } until $component[-1] == $node;
			push @found, \@component if @component > 1;
		}
	}
	return @found;
}

# The shortest way from one node to another within a component: a list of
# [ from, edge ], or nothing.
sub path
{
	my ($edges, $kinds, $inside, $from, $to) = @_;
	my %came;
	my @queue = ($from);

	while (@queue)
	{
		my $node = shift @queue;
		foreach my $edge (grep { $kinds->{ $_->[1] } && $inside->{ $_->[0] } && !$came{ $_->[0] } } @{ $edges->[$node] })
		{
			$came{ $edge->[0] } = [ $node, $edge ];
			push @queue, $edge->[0];
			next if $edge->[0] != $to;
			my @path = ($came{$to});
			unshift @path, $came{ $path[0][0] } until $path[0][0] == $from;
			return @path;
		}
	}
	return;
}

# A cycle in words; ways through instants are one edge.
sub describe
{
	my ($transactions, @path) = @_;
	my $text = '';

	foreach my $step (@path)
	{
		my ($from, $edge) = @$step;
		next if $from >= $transactions;
		$text .= "T$from " . ($edge->[1] eq 'rt' ? 'rt ' : "$edge->[1]($edge->[2]) ");
	}
	return "${text}T" . (grep { $_ < $transactions } map { $_->[0] } @path)[0];
}

# With rw edges: one of them is worse than several.
sub rw_cycle
{
	my ($edges, $kinds, $component) = @_;
	my %inside = map { $_ => 1 } @$component;
	my %without = (%$kinds, rw => 0);

	foreach my $from (@$component)
	{
		foreach my $edge (grep { $_->[1] eq 'rw' && $inside{ $_->[0] } } @{ $edges->[$from] })
		{
			my @back = path($edges, \%without, \%inside, $edge->[0], $from);
			return ('G-single', [ $from, $edge ], @back) if @back;
		}
	}
	return ('G2', path($edges, $kinds, \%inside, $component->[0], $component->[0]));
}

sub check_cycles
{
	my ($edges, $transactions, $anomalies) = @_;
	my %named;

	foreach my $stage ([ 'G0', 'ww' ], [ 'G1c', qw(ww wr) ], [ 'G2', qw(ww wr rw) ], [ 'G0-realtime', qw(ww rt) ], [ 'G1c-realtime', qw(ww wr rt) ], [ 'G2-realtime', qw(ww wr rw rt) ])
	{
		my ($name, @kinds) = @$stage;
		my %kinds = map { $_ => 1 } @kinds;

		foreach my $component (components($edges, \%kinds))
		{
			my @members = grep { $_ < $transactions } @$component;
			next if grep { $named{$_} } @members;
			$named{$_} = 1 foreach @members;
			my %inside = map { $_ => 1 } @$component;
			my ($what, @path) = $kinds{rw} ? rw_cycle($edges, \%kinds, $component) : ($name, path($edges, \%kinds, \%inside, $members[0], $members[0]));
			$what .= '-realtime' if $what !~ /-realtime/ && $kinds{rt};
			push @path, shift @path while $path[0][0] >= $transactions;
			push @$anomalies, [ $what, describe($transactions, @path) ];
		}
	}
	return;
}

sub check
{
	my ($history, %options) = @_;
	my ($writer, $last) = writers($history);
	my $longest = version_orders($history);
	my (@anomalies, %reads);

	foreach my $n (grep { $history->[$_]{status} eq 'ok' } 0 .. $#$history)
	{
		$reads{$n} = own_reads($n, $history->[$n], \@anomalies);
	}
	check_lists($history, $writer, $last, $longest, \@anomalies);
	check_lost($history, $longest, \@anomalies) if $options{final};
	my $edges = build_graph($history, $writer, $longest, \%reads);
	check_cycles($edges, scalar @$history, \@anomalies);
	my $count = 0;
	$count += @$_ foreach @$edges;
	return (\@anomalies, $count);
}

1;
