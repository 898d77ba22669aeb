# Times that cron writes: pg_cron sends the messages.  The README's line is
# taken as it stands.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";

use ActorstoreTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_node('cron');
plan skip_all => 'there is no pg_cron' unless $node->safe_psql('postgres', q{SELECT count(*) FROM pg_available_extensions WHERE name = 'pg_cron'});

my ($line) = slurp_file("$FindBin::RealBin/../../README.md") =~ /^(SELECT cron\.schedule\(.*)$/m;
ok($line, 'the README has a line');

new_database_with_actors($node, 'd');
$node->append_conf('postgresql.conf', "shared_preload_libraries = 'pg_cron, actorstore'\ncron.database_name = 'd'\ncron.use_background_workers = on\nmax_worker_processes = 16");
$node->restart;
sub sql { my ($sql) = @_; return $node->safe_psql('d', $sql); }
sql(q{CREATE EXTENSION pg_cron; SELECT actorstore.create_type('report'), actorstore.set_handler('report', 'run', 'collect(jsonb, jsonb)')});
sql($line);
is(sql(q{SELECT jobname, schedule, active FROM cron.job}), 'nightly|0 3 * * *|t', 'it is scheduled');
is(sqlstate($node, 'd', $line =~ s/0 3 \* \* \*/0 3 * */r), '22023', 'by pg_cron itself, which says what is no schedule');

# The same command, at the server's start.
sql($line =~ s/nightly/start/r =~ s/0 3 \* \* \*/\@reboot/r);
$node->restart;
ok(comes_true($node, 'd', q{EXISTS (SELECT FROM actorstore.actor_report WHERE actor_id = 'daily')}), 'its message is handled');
ok(comes_true($node, 'd', q{(SELECT status = 'succeeded' FROM cron.job_run_details)}), 'and pg_cron content');
is(sql(q{SELECT value FROM actorstore.get('report', 'daily')}), '[null]', 'one message');

done_testing();
