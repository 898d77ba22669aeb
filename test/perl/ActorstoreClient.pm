# A connection to a server, without psql: what `psql -XAtq -f -` would print, byte for byte without the price of a
# process.  It knows the simple query protocol over a Unix-domain socket, and no backslash commands, variables and COPY:
# statements() refuses what needs them.

package ActorstoreClient;

use strict;
use warnings;

use IO::Socket::UNIX;
use Socket qw(SOCK_STREAM);

# Connects to the socket with these startup parameters (user, database, ...); undef if the server does not take the connection at once.
sub new
{
	my ($class, $path, %parameters) = @_;
	my $socket = IO::Socket::UNIX->new(Type => SOCK_STREAM, Peer => $path) or return;
	my $self = bless { socket => $socket, in => '' }, $class;
	my $startup = pack('N', 196608) . join '', map { "$_\0" } %parameters, '';

	local $SIG{PIPE} = 'IGNORE';
	syswrite $socket, pack('N', 4 + length $startup) . $startup;
	while (my ($type, $body) = $self->_message)
	{
		return if $type eq 'E' || $type eq 'R' && unpack('N', $body) != 0;	# refused, or it wants a password
		return $self if $type eq 'Z';
	}
	return;
}

# Is it open, and is there nothing to read, as that the server ends it?
sub is_quiet
{
	my ($self) = @_;
	my $set = '';

	vec($set, fileno $self->{socket}, 1) = 1;
	return $self->{in} eq '' && select($set, undef, undef, 0) == 0;
}

# Ends the session, and waits a moment until the server has.
sub close
{
	my ($self) = @_;
	my $set = '';

	local $SIG{PIPE} = 'IGNORE';
	syswrite $self->{socket}, pack('aN', 'X', 4);
	vec($set, fileno $self->{socket}, 1) = 1;
	select $set, undef, undef, 1;
	CORE::close $self->{socket};
	return;
}

# Runs statements(), as psql does: returns its exit status and what it would write to stdout and stderr.  Options: stop (at the first error),
# sqlstate (is all of an error that is written).
sub run
{
	my ($self, $statements, %options) = @_;
	my ($stdout, $stderr) = ('', '');

	foreach (@$statements)
	{
		my ($sql, $line) = @$_;
		my $say = sub { $stderr .= "psql:<stdin>:$line: " . _complaint($sql, $options{sqlstate}, @_); };

		$self->_send($sql);
		my ($failed, $lost) = $self->_answer($sql, sub { $stdout .= $_[0] }, $say);
		if ($lost)
		{
			$stderr .= "psql:<stdin>:$line: server closed the connection unexpectedly\n"
			  . "\tThis probably means the server terminated abnormally\n\tbefore or while processing the request.\n"
			  . "psql:<stdin>:$line: error: connection to server was lost\n";
			return (2, $stdout, $stderr);
		}
		return (3, $stdout, $stderr) if $failed && $options{stop};
	}
	return (0, $stdout, $stderr);
}

sub _send
{
	my ($self, $sql) = @_;
	my $message = pack('aN', 'Q', 5 + length $sql) . "$sql\0";

	local $SIG{PIPE} = 'IGNORE';
	while ($message ne '')
	{
		my $n = syswrite $self->{socket}, $message;
		last if !defined $n && !$!{EINTR};
		substr($message, 0, $n // 0) = '';
	}
	return;
}

# Reads all there is for a statement.  Rows go to one function, notices and errors to another.
sub _answer
{
	my ($self, $sql, $print, $say) = @_;
	my ($rows, $failed) = ('', 0);

	while (my ($type, $body) = $self->_message)
	{
		if ($type eq 'D')
		{
			my $at = 2;
			my @values = map {
				my $length = unpack 'l>', substr $body, $at, 4;
				$at += 4 + ($length > 0 ? $length : 0);
				$length > 0 ? substr $body, $at - $length, $length : '';
			} 1 .. unpack 'n', $body;
			$rows .= join('|', @values) . (@values ? "\n" : '');
		}
		elsif ($type eq 'C')
		{
			$print->($rows);
			$rows = '';
		}
		elsif ($type eq 'E' || $type eq 'N')
		{
			$say->($type, map { substr($_, 0, 1) => substr($_, 1) } split /\0/, $body);
			$failed = 1 if $type eq 'E';
		}
		elsif ($type eq 'Z')
		{
			return ($failed, 0);
		}
		elsif ($type !~ /[TISAK]/)
		{
			die "message $type in answer to $sql";
		}
	}
	return ($failed, 1);
}

# The next message: its type and contents.  An empty list if the connection is lost.
sub _message
{
	my ($self) = @_;
	my $length = 5;

	while (1)
	{
		$length = 1 + unpack 'x N', $self->{in} if length $self->{in} >= 5;
		last if length $self->{in} >= $length;
		my $n = sysread $self->{socket}, $self->{in}, 65536, length $self->{in};
		return if defined $n ? $n == 0 : !$!{EINTR};
	}
	my $message = substr $self->{in}, 0, $length, '';
	return (substr($message, 0, 1), substr $message, 5);
}

# What psql and libpq make of the fields of an error or a notice.
sub _complaint
{
	my ($sql, $sqlstate, $type, %field) = @_;

	return "$field{S}:  $field{C}\n" if $sqlstate;
	return "$field{S}:  $field{M}\n"
	  . (defined $field{P} ? _cursor($sql, $field{P}) : defined $field{p} && defined $field{q} ? _cursor($field{q}, $field{p}) : '')
	  . (defined $field{D} ? "DETAIL:  $field{D}\n" : '')
	  . (defined $field{H} ? "HINT:  $field{H}\n" : '')
	  . (defined $field{q} ? "QUERY:  $field{q}\n" : '')
	  . (defined $field{W} && $type eq 'E' ? "CONTEXT:  $field{W}\n" : '');
}

# The line of a query with an error, cut to 60 columns, and below it where; position counts from 1.
sub _cursor
{
	my ($sql, $position) = @_;

	utf8::decode($sql);
	my $before = substr $sql, 0, $position - 1;
	my $number = 1 + (() = $before =~ /\n/g);
	my $beginning = 1 + rindex $before, "\n";
	my ($line) = substr($sql, $beginning) =~ /\A([^\n]*)/;
	my $at = $position - 1 - $beginning;
	my ($head, $tail) = ('', '');

	$line =~ tr/\t/ /;
	if (length $line > 60)
	{
		if (60 >= $at + 10)
		{
			$line = substr $line, 0, 60;
			$tail = '...';
		}
		else
		{
			$tail = '...' if length $line > $at + 10;
			$line = substr $line, 0, $at + 10;
			my $cut = length($line) > 60 ? length($line) - 60 : 0;
			$head = '...' if $cut;
			$line = substr $line, $cut;
			$at -= $cut;
		}
	}
	my $prefix = "LINE $number: $head";
	my $wide = () = substr($line, 0, $at) =~ /[\p{Ea=W}\p{Ea=F}]/g;
	my $text = "$prefix$line$tail\n" . ' ' x (length($prefix) + $at + $wide) . "^\n";
	utf8::encode($text);
	return $text;
}

# The statements of a script, each with the number of the line that psql has come to when it sends it; undef for a script that
# psql has to see itself.
sub statements
{
	my ($script) = @_;
	my ($text, $depth, $line, @statements) = ('', 0, 1);
	my $name = qr/[A-Za-z_\x80-\xff][\w\x24\x80-\xff]*/a;

	for ($script)
	{
		pos = 0;
		while (pos() < length)
		{
			my $from = pos;

			if (/\G(?:\s+|--[^\n]*)/gc)
			{
				$text .= $& if $text ne '';
				$line += $& =~ tr/\n//;
				next;
			}
			if (/\G(\$(?:[A-Za-z_\x80-\xff][\w\x80-\xff]*)?\$)/gc)
			{
				my $end = index $_, $1, pos;
				return if $end < 0;
				pos = $end + length $1;
			}
			elsif (/\G($name)/gc)
			{
				return if $1 =~ /^(?:copy|atomic)$/i;
				return if $1 =~ /^e$/i && /\G'/ && !/\G'(?:[^'\\]|\\.|'')*'/gcs;
			}
			elsif (m{\G(?:\\|/\*|:['"\{A-Z])}) { return; }
			elsif (/\G(?:'(?:[^']|'')*'|"(?:[^"]|"")*"|::|\d[\w.]*)/gc) { }
			elsif (/\G['"]/) { return; }
			else { /\G./gcs; }

			my $token = substr $_, $from, pos() - $from;
			$text .= $token;
			$line += $token =~ tr/\n//;
			$depth++ if $token eq '(';
			$depth-- if $token eq ')' && $depth > 0;
			if ($token eq ';' && $depth == 0)
			{
				push @statements, [ $text, $line ];
				$text = '';
			}
		}
	}
	return if $depth > 0;
	$text =~ s/\n+\z//;
	push @statements, [ $text, ($script =~ tr/\n//) + ($script !~ /\n\z/) ] if $text ne '';
	return \@statements;
}

1;
