# Many actors over three nodes: get_many, get_all, list, insert_many, put_many
# give what one database with all the actors gives; and what is read under
# locks is one state of all nodes.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";

use ActorstoreTest;
use Test::More;

my @nodes = new_cluster('one', 'two', 'three', { settings => 'deadlock_timeout = 60s' });
my ($one, $two, $three) = @nodes;
new_database($one, 'alone');
foreach my $where ((map { [ $_, 'd' ] } @nodes), [ $one, 'alone' ])
{
	$where->[0]->safe_psql($where->[1], q{
		CREATE FUNCTION attempt(sql text) RETURNS text LANGUAGE plpgsql AS $$
		DECLARE
			a text; b text; c text; d text;
		BEGIN
			EXECUTE format('SELECT string_agg(concat_ws($s$|$s$, x), $s$ $s$) FROM (%s) AS x', sql) INTO a;
			RETURN a;
		EXCEPTION WHEN OTHERS THEN
			GET STACKED DIAGNOSTICS a = RETURNED_SQLSTATE, b = MESSAGE_TEXT, c = PG_EXCEPTION_DETAIL, d = PG_EXCEPTION_HINT;
			RETURN concat_ws('|', a, b, c, d);
		END $$});
}
$_->[0]->safe_psql($_->[1], q{SELECT actorstore.create_type('t'), actorstore.create_type('big')}) foreach [ $one, 'd' ], [ $one, 'alone' ];
my $session = ActorstoreTest::Session->new($two, 'd');
my $alone = ActorstoreTest::Session->new($one, 'alone');
sub q1 { return $session->query($_[0]); }
sub count_on { my ($type) = @_; return join ' ', map { $_->safe_psql('d', "SELECT count(*) FROM actorstore.actor_$type") } @nodes; }

# The same calls there and here.
sub same
{
	my ($name, $sql, $like) = @_;
	my ($got, $expected) = map { $_->query("SELECT attempt(\$a\$$sql\$a\$)") } $session, $alone;

	is($got, $expected, $name);
	like($got, $like, "$name: not nothing") if $like;
	return;
}
my $columns = 'actor_type, actor_id, value, version, created_at = updated_at';
sub many { my ($function, $from, $to, $value) = @_; return "SELECT actorstore.${function}_many('t', array_agg('a' || i ORDER BY -i), array_agg($value ORDER BY -i)) FROM generate_series($from, $to) AS i"; }
same('insert_many', many('insert', 1, 300, q{jsonb_build_object('i', i, 's', E'\u00e4\n"')}), qr/^\(300\)$/);
like(count_on('t'), qr/^(?!0)\d+ (?!0)\d+ (?!0)\d+$/, 'they live on all nodes');
is(eval(count_on('t') =~ tr/ /+/r), 300, 'each on one');
same('insert_many again', many('insert', 300, 310, 'to_jsonb(i)'), qr/^23505\|/);
is(eval(count_on('t') =~ tr/ /+/r), 300, 'all or none');
same('put_many', many('put', 200, 400, 'to_jsonb(i)'), qr/^\(201\)$/);
same('put_many of one twice', q{SELECT actorstore.put_many('t', '{a1,a2,a3,a4,a5,a6,a1}', '{1,2,3,4,5,6,7}')}, qr/^21000\|/);
same('lengths that differ', q{SELECT actorstore.put_many('t', '{a1,a2}', '{1}')}, qr/^22023\|/);
same('none', q{SELECT actorstore.put_many('t', '{}', '{}')}, qr/^\(0\)$/);
same('a value that is too large', many('put', 1, 9, q{to_jsonb(repeat('x', 11000000))}) , qr/^54000\|/);
foreach my $lock ('NULL', q{'share'}, q{'update'})
{
	same("get_many, lock $lock", "SELECT $columns FROM actorstore.get_many('t', '{a7,a1,a300,nobody,a7,a299,b,a2,a3,a4,a5,a6,a400,a1}', $lock)", qr/a7.*a1.*a300.*a7.*a299.*a2.*a3.*a400.*a1/s);
	same("all by id, lock $lock", "SELECT $columns FROM actorstore.get_many('t', ARRAY(SELECT 'a' || i FROM generate_series(401, 0, -1) AS i), $lock)", qr/a400.*a1\W/s);
	same("none, lock $lock", "SELECT $columns FROM actorstore.get_many('t', '{}', $lock)");
	same("unknown type, lock $lock", "SELECT $columns FROM actorstore.get_many('unknown', '{a,b,c,d,e,f,g}', $lock)");
}
same('a lock that is none', q{SELECT actorstore.get_many('t', '{a,b,c,d,e,f,g}', 'x')}, qr/^22023\|/);
same('get_all', "SELECT $columns FROM actorstore.get_all('t') ORDER BY actor_id COLLATE \"C\"", qr/a400/);
same('get_all, counted', "SELECT count(*), sum(version) FROM actorstore.get_all('t')", qr/\(400,101\)/);
same('the highest version', q{SELECT coalesce(max(version), 0) FROM actorstore.get_all('t')}, qr/\(1\)/);
same('of no actors', q{SELECT coalesce(max(version), 0) FROM actorstore.get_all('unknown')}, qr/\(0\)/);
same('get_all in the select list', q{SELECT count(*) FROM (SELECT actorstore.get_all('t')) AS x}, qr/\(400\)/);
same('of an unknown type', q{SELECT count(*) FROM actorstore.get_all('unknown')}, qr/\(0\)/);
same("list $_", "SELECT actor_id, value FROM actorstore.list('t'$_)") foreach '', q{, 'a1'}, q{, 'a1', 'a15'}, q{, NULL, 'a3', 7}, q{, 'a2', 'a', 3}, q{, NULL, NULL, NULL}, q{, 'x'}, q{, NULL, 'zz'}, q{, NULL, NULL, 0}, q{, NULL, NULL, -1}, q{, 'a', NULL, 399};
is(q1(q{SELECT count(*) FROM actorstore.list('t', NULL, NULL, 5)}), '5', 'a page that ends early') foreach 1 .. 3;
q1('BEGIN ISOLATION LEVEL REPEATABLE READ'); is(q1(q{SELECT count(*) FROM actorstore.list('t', NULL, NULL, 5)}), '5', 'in a transaction that goes on') foreach 1 .. 2;
$_->safe_psql('d', q{SELECT actorstore.put_many('t', array_agg('c' || i), array_agg(to_jsonb(i))) FROM generate_series(1, 50) AS i}) foreach $one;
is(q1(q{SELECT count(*) FROM actorstore.get_all('t')}), '400', 'one snapshot on each node'); q1('COMMIT');
is(q1(q{SELECT count(*) FROM actorstore.get_all('t')}), '450', 'then a later one');

# Large ones, in cursors; nothing is kept of what nobody has asked for.
$one->safe_psql('d', q{SELECT actorstore.insert_many('big', array_agg('a' || i), array_agg(jsonb_build_object('i', i, 'x', repeat('x', 200)))) FROM generate_series(1, 30000) AS i});
q1('BEGIN'); q1(q{DECLARE c CURSOR FOR SELECT (value ->> 'i')::int FROM actorstore.get_all('big')});
is((() = q1('FETCH 10 FROM c') =~ /^\d+$/mg), 10, 'a cursor');
is(q1(q{SELECT value -> 'i' FROM actorstore.get('big', 'a17')}), '17', 'beside it others are read');
is((() = q1('FETCH ALL FROM c') =~ /^\d+$/mg), 29990, 'to its end'); q1('COMMIT');
is(q1(q{SELECT count(*), sum((value -> 'i')::int) FROM actorstore.get_all('big')}), '30000|450015000', 'all');
is(q1(q{SELECT count(*), count(*) FILTER (WHERE actor_id <= before COLLATE "C") FROM (SELECT actor_id, lag(actor_id) OVER () AS before FROM actorstore.list('big', max_rows => NULL)) AS x}), '30000|0', 'all by id');
is(q1(q{SELECT count(*) FROM actorstore.get_many('big', ARRAY(SELECT 'a' || i FROM generate_series(1, 20000) AS i))}), '20000', 'many by id');

# Cursors in other shapes: two beside each other, backwards, in a loop, through savepoints, left open.
q1('BEGIN'); q1(q{DECLARE a CURSOR FOR SELECT actor_id FROM actorstore.list('big', max_rows => NULL)}); q1(q{DECLARE b SCROLL CURSOR FOR SELECT actor_id FROM actorstore.list('big', id_prefix => 'a12', max_rows => NULL)});
is(join(' ', map { q1("FETCH 1 FROM $_") } qw(a b a b a b)), 'a1 a12 a10 a120 a100 a1200', 'two cursors');
is(q1('FETCH LAST FROM b') . ' ' . q1('FETCH PRIOR FROM b') . ' ' . q1('FETCH FIRST FROM b'), 'a12999 a12998 a12', 'backwards');
q1('SAVEPOINT s'); q1(q{SELECT actorstore.put('big', 'a17', '{"i": 0}')}); q1('ROLLBACK TO s');
is(q1('FETCH 1 FROM a') . ' ' . q1('FETCH NEXT FROM b'), 'a1000 a120', 'through a savepoint and what is undone');
is(q1(q{SELECT actorstore.insert('big', 'a17', '1')}), 'ERROR:  23505', 'an error'); q1('ROLLBACK TO s');
is(q1('FETCH 1 FROM a'), 'a10000', 'goes on'); q1('COMMIT');
is(q1(q{SELECT (value -> 'i')::int FROM actorstore.get('big', 'a17')}), '17', 'as it was');
q1(q{CREATE FUNCTION walk(OUT n int, OUT total bigint, OUT ordered boolean) LANGUAGE plpgsql AS $$ DECLARE r record; last text := ''; BEGIN
	n := 0; total := 0; ordered := true;
	FOR r IN SELECT * FROM actorstore.list('big', max_rows => NULL) LOOP
		n := n + 1; total := total + (r.value -> 'i')::int; ordered := ordered AND r.actor_id > last COLLATE "C"; last := r.actor_id;
	END LOOP; END $$});
is(q1('SELECT * FROM walk()'), '30000|450015000|t', 'a loop');
is(q1(q{DECLARE h CURSOR WITH HOLD FOR SELECT actor_id FROM actorstore.list('big', id_prefix => 'a123', max_rows => 3)}), '', 'WITH HOLD, reading only');
is(q1('FETCH ALL FROM h'), "a123\na1230\na12300", 'is read later'); q1('CLOSE h');
q1('BEGIN'); q1(q{DECLARE a CURSOR FOR SELECT actor_id FROM actorstore.get_all('big')}); q1('FETCH 5 FROM a'); q1(q{SET LOCAL statement_timeout = '1ms'});
is(q1(q{SELECT count(*) FROM actorstore.get_all('big')}), 'ERROR:  57014', 'a time-out beside one that is open'); q1('ROLLBACK');

q1(q{SET statement_timeout = '1ms'}); is(q1(q{SELECT count(*) FROM actorstore.get_all('big')}), 'ERROR:  57014', 'cancelled half-way'); q1('RESET statement_timeout');
is(q1(q{SELECT count(*) FROM actorstore.get_all('big')}), '30000', 'and again');
is(q1(q{SELECT count(*) FROM actorstore.get_all('big') AS a, actorstore.get('big', a.actor_id) AS b WHERE a.value = b.value AND length(a.actor_id) < 4}), '99', 'reads within reads');

# Rights, and nodes that are not there.
$_->safe_psql('d', 'CREATE ROLE reader LOGIN') foreach @nodes;
$three->safe_psql('d', q{SELECT actorstore.grant_type('t', 'reader', '{read}')});
q1('SET ROLE reader');
is(q1(q{SELECT count(*) FROM actorstore.get_all('t')}), '450', 'who may read');
is(q1(q{SELECT count(*) FROM actorstore.get_many('t', '{a1,a2,a3,a4,a5,a6}', 'share')}), '6', 'may share');
is(q1(q{SELECT count(*) FROM actorstore.get_many('t', '{a1,a2,a3,a4,a5,a6}', 'update')}), 'ERROR:  42501', 'not lock to write');
is(q1(q{SELECT actorstore.put_many('t', '{a1,a2,a3,a4,a5,a6}', '{1,2,3,4,5,6}')}), 'ERROR:  42501', 'nor write');
is(q1(q{SELECT count(*) FROM actorstore.get_all('big')}), 'ERROR:  42501', 'another type');
q1('RESET ROLE');
$three->safe_psql('d', q{SELECT actorstore.revoke_type('t', 'reader', '{read}')});
is(q1(qq{SET ROLE reader; SELECT count(*) FROM actorstore.$_}), 'ERROR:  42501', "the owner checks: $_") foreach q{get_all('t')}, q{list('t')}, q{get_many('t', '{a1,a2,a3,a4,a5,a6,a7,a8,a9}')};
q1('RESET ROLE');

# Triggers of the type's table that call other nodes, beside the rows that go there.
$_->safe_psql('d', q{CREATE FUNCTION again() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
	IF current_setting('actorstore.coordinator') = '' THEN PERFORM actorstore.get_many('big', '{a1,a2,a3,a4,a5,a6}'); END IF; RETURN NULL; END $$;
	CREATE TRIGGER again AFTER INSERT OR UPDATE ON actorstore.actor_t FOR EACH ROW EXECUTE FUNCTION again()}) foreach @nodes;
is(q1(many('put', 1, 300, 'to_jsonb(7)') =~ s/^SELECT /SELECT /r), '300', 'triggers that read other nodes');
$_->safe_psql('d', 'DROP TRIGGER again ON actorstore.actor_t') foreach @nodes;
is(q1(q{SELECT count(*) FROM actorstore.get_all('t') WHERE value = '7' AND actor_id LIKE 'a%'}), '300', 'all are written');

# Savepoints.
q1('BEGIN'); q1(many('put', 1, 20, 'to_jsonb(8)')); q1('SAVEPOINT a'); q1(many('put', 11, 30, 'to_jsonb(9)')); q1(many('insert', 1, 30, 'to_jsonb(9)')); q1('ROLLBACK TO a'); q1('COMMIT');
is(q1(q{SELECT count(*) FILTER (WHERE value = '8'), count(*) FILTER (WHERE value = '9') FROM actorstore.get_all('t') WHERE actor_id LIKE 'a%'}), '20|0', 'rolled back to a savepoint on all nodes');

# Transfers between all nodes, beside readers.
$one->safe_psql('d', q{SELECT actorstore.put_many('t', array_agg('x' || i), array_agg(to_jsonb(100))) FROM generate_series(1, 12) AS i});
$_->safe_psql('d', q{CREATE TABLE stop ();
	CREATE PROCEDURE transfer() LANGUAGE plpgsql AS $$
	DECLARE
		ids text[]; n int;
	BEGIN
		LOOP
			SELECT array_agg('x' || i) INTO ids FROM (SELECT i FROM generate_series(1, 12) AS i ORDER BY random() LIMIT 2) AS x;
			n := (random() * 10)::int;
			PERFORM actorstore.get_many('t', ids, 'update');
			PERFORM actorstore.put('t', ids[1], to_jsonb((value #>> '{}')::int - n)) FROM actorstore.get('t', ids[1]);
			PERFORM actorstore.put('t', ids[2], to_jsonb((value #>> '{}')::int + n)) FROM actorstore.get('t', ids[2]);
			COMMIT;
			EXIT WHEN EXISTS (SELECT FROM stop);
		END LOOP;
	END $$;
	CREATE PROCEDURE read_sums(tries int, lock text, INOUT wrong int) LANGUAGE plpgsql AS $$
	DECLARE
		total int;
	BEGIN
		FOR try IN 1 .. tries LOOP
			SELECT sum((value #>> '{}')::int) INTO total FROM actorstore.get_many('t', ARRAY(SELECT 'x' || i FROM generate_series(1, 12) AS i), lock);
			COMMIT;
			wrong := wrong + (total <> 1200)::int;
			EXIT WHEN lock IS NULL AND wrong > 0;
		END LOOP;
	END $$}) foreach @nodes;
my @writers = map { ActorstoreTest::Session->new($_, 'd') } @nodes;
$_->start('CALL transfer()') foreach @writers;
my $reader = ActorstoreTest::Session->new($two, 'd');
my $versions = q{SELECT sum(version) FROM actorstore.get_many('t', ARRAY(SELECT 'x' || i FROM generate_series(1, 12) AS i))};
my $before = q1($versions);
is(q1(q{CALL read_sums(1000000, NULL, 0)}), '1', 'readers without locks see half of a transfer');
$session->start(q{CALL read_sums(60, 'share', 0)}); $reader->start(q{CALL read_sums(60, 'share', 0)});
is($_->finish, '0', 'readers with locks never do') foreach $session, $reader;
cmp_ok(q1($versions), '>', $before + 50, 'beside many transfers');
$_->safe_psql('d', 'CREATE TABLE stopped (); INSERT INTO stop DEFAULT VALUES') foreach @nodes;
is($_->finish, '', 'a writer has met no error') foreach @writers;
is(q1(q{CALL read_sums(1, NULL, 0)}), '0', 'in the end the sum is right without locks, too');
is(q1(q{SELECT count(*) FROM actorstore.get_all('t') AS a WHERE actor_id LIKE 'x%' AND a.version > 0}), '12', 'all have moved');
ok(comes_true($_, 'd', 'NOT EXISTS (SELECT FROM pg_prepared_xacts)'), 'nothing is left prepared') foreach @nodes;

# Under REPEATABLE READ a lock on what has changed since is an error, not an old value.
q1('BEGIN ISOLATION LEVEL REPEATABLE READ'); q1(q{SELECT count(*) FROM actorstore.get_many('t', '{x1,x2,x3,x4,x5,x6}')});
$one->safe_psql('d', q{SELECT actorstore.put_many('t', '{x1,x2,x3,x4,x5,x6}', '{1,1,1,1,1,1}')});
is(q1(q{SELECT count(*) FROM actorstore.get_many('t', '{x1,x2,x3,x4,x5,x6}', 'share')}), 'ERROR:  40001', 'a lock under an old snapshot'); q1('ROLLBACK');

# A node that only held read locks dies before the decision: nothing commits.
my ($x_two) = rows($one, 'd', q{SELECT 'x' || i FROM generate_series(1, 99) AS i WHERE actorstore.locate('t', 'x' || i) = 'two' LIMIT 1});
my ($x_three) = rows($one, 'd', q{SELECT 'x' || i FROM generate_series(1, 99) AS i WHERE actorstore.locate('t', 'x' || i) = 'three' LIMIT 1});
$one->safe_psql('d', qq{SELECT actorstore.put_many('t', '{$x_two,$x_three}', '{5,5}')});
my $coordinator = ActorstoreTest::Session->new($one, 'd');
$coordinator->query('BEGIN'); $coordinator->query(qq{SELECT actorstore.get_many('t', '{$x_two}', 'share')}); $coordinator->query(qq{SELECT actorstore.put('t', '$x_three', '6')});
$two->safe_psql('d', q{SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'actorstore peer' AND state = 'idle in transaction'});
ok(comes_true($two, 'd', q{NOT EXISTS (SELECT FROM pg_stat_activity WHERE application_name = 'actorstore peer' AND state = 'idle in transaction')}), 'its lock is gone');
is($coordinator->query('COMMIT'), 'ERROR:  08006', 'the transaction is lost');
is($three->safe_psql('d', "SELECT value FROM actorstore.get('t', '$x_three')"), '5', 'on all nodes');

# Out of reach.
$three->stop;
is(q1(qq{SELECT count(*) FROM actorstore.$_}), 'ERROR:  08006', "out of reach: $_") foreach q{get_all('t')}, q{list('t')}, qq{get_many('t', '{$x_two,$x_three}')};
is(q1(qq{SELECT actorstore.put_many('t', '{$x_two,$x_three}', '{8,8}')}), 'ERROR:  08006', 'out of reach: put_many');
is(q1(qq{SELECT value FROM actorstore.get_many('t', '{$x_two}')}), '5', 'the others are there, and nothing was written');

$_->quit foreach $session, $alone, @writers, $reader, $coordinator;
$_->stop foreach $one, $two;
done_testing();
