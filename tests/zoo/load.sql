.bail on
PRAGMA journal_mode = wal;
PRAGMA threads = 2;
CREATE TABLE item(id INTEGER PRIMARY KEY, name TEXT, weight REAL, body BLOB);
CREATE INDEX item_name ON item(name, weight);
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 200000)
  INSERT INTO item SELECT i, printf('%06x', i * 7919 % 1000003), i * 0.37, zeroblob(i % 200) FROM n;
CREATE VIRTUAL TABLE text USING fts5(body);
INSERT INTO text SELECT name || ' ' || (id % 1000) || ' ' || (id % 77) FROM item WHERE id <= 40000;
SELECT count(*) FROM text WHERE text MATCH '500 OR 42';
SELECT count(*), sum(id), round(sum(weight), 2), sum(length(body)) FROM item;
SELECT a.name, count(*) FROM item a JOIN item b ON b.id = a.id * 7919 % 200000 GROUP BY a.id % 10 ORDER BY 2, 1 LIMIT 5;
UPDATE item SET weight = weight * 2 WHERE id % 3 = 0;
DELETE FROM item WHERE id % 5 = 0;
SELECT name, sum(weight) OVER (ORDER BY name ROWS 10 PRECEDING) FROM item ORDER BY name DESC LIMIT 3;
SELECT json_group_array(json_object('i', id, 'n', name)) FROM item WHERE id < 20;
VACUUM;
PRAGMA integrity_check;
SELECT count(*), round(sum(weight), 2) FROM item;
