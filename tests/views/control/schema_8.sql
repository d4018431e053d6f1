-- The tables of schema 8 as it was first released: what migrations begin with. Never changed again.

CREATE TABLE dynaview_adopted (
	"view" VARCHAR(200) NOT NULL,
	worker VARCHAR(100) NOT NULL,
	revision INTEGER NOT NULL,
	at FLOAT NOT NULL,
	PRIMARY KEY ("view", worker)
);

CREATE TABLE dynaview_checkpoints (
	"view" VARCHAR(200) NOT NULL,
	shard VARCHAR(200) NOT NULL,
	sequence VARCHAR(50),
	time FLOAT,
	finished BOOLEAN NOT NULL,
	tip FLOAT,
	updated FLOAT NOT NULL,
	PRIMARY KEY ("view", shard)
);

CREATE TABLE dynaview_control (
	schema_version INTEGER NOT NULL,
	PRIMARY KEY (schema_version)
);

CREATE TABLE dynaview_dead_letters (
	id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
	"view" VARCHAR(200) NOT NULL,
	item_key TEXT NOT NULL,
	row_key TEXT NOT NULL,
	version VARCHAR(60) NOT NULL,
	shard VARCHAR(200) NOT NULL,
	time FLOAT NOT NULL,
	kind VARCHAR(20) NOT NULL,
	reason TEXT NOT NULL,
	change BLOB NOT NULL,
	generation INTEGER NOT NULL,
	counted BOOLEAN NOT NULL,
	created FLOAT NOT NULL,
	UNIQUE ("view", generation, version, item_key, row_key)
);

CREATE TABLE dynaview_generations (
	"view" VARCHAR(200) NOT NULL,
	generation INTEGER NOT NULL,
	fingerprint VARCHAR(64) NOT NULL,
	declaration TEXT NOT NULL,
	role VARCHAR(20) NOT NULL,
	claimed BOOLEAN NOT NULL,
	filled BOOLEAN NOT NULL,
	created FLOAT NOT NULL,
	keep_until FLOAT,
	scanned BIGINT,
	matched BIGINT,
	inserted BIGINT,
	PRIMARY KEY ("view", generation)
);

CREATE TABLE dynaview_leases (
	grp VARCHAR(64) NOT NULL,
	resource VARCHAR(300) NOT NULL,
	owner VARCHAR(200),
	epoch BIGINT NOT NULL,
	PRIMARY KEY (grp, resource)
);

CREATE TABLE dynaview_ownership (
	"view" VARCHAR(200) NOT NULL,
	grp VARCHAR(64) NOT NULL,
	PRIMARY KEY ("view")
);

CREATE TABLE dynaview_rebuilds (
	"view" VARCHAR(200) NOT NULL,
	job VARCHAR(50) NOT NULL,
	source VARCHAR(200) NOT NULL,
	kind VARCHAR(20) NOT NULL,
	phase VARCHAR(20) NOT NULL,
	reason TEXT NOT NULL,
	fingerprint VARCHAR(64) NOT NULL,
	generation INTEGER NOT NULL,
	fresh BOOLEAN NOT NULL,
	options TEXT NOT NULL,
	answer VARCHAR(20) NOT NULL,
	requested FLOAT NOT NULL,
	updated FLOAT NOT NULL,
	scan_began FLOAT,
	scan_end FLOAT,
	written FLOAT,
	items BIGINT NOT NULL,
	of_items BIGINT NOT NULL,
	matched BIGINT NOT NULL,
	rows BIGINT NOT NULL,
	swept BIGINT NOT NULL,
	letters BIGINT NOT NULL,
	units FLOAT NOT NULL,
	before_state VARCHAR(20) NOT NULL,
	before_reason TEXT NOT NULL,
	PRIMARY KEY ("view")
);

CREATE TABLE dynaview_scans (
	job VARCHAR(50) NOT NULL,
	segment INTEGER NOT NULL,
	segments INTEGER NOT NULL,
	position TEXT,
	finished BOOLEAN NOT NULL,
	scanned BIGINT NOT NULL,
	PRIMARY KEY (job, segment)
);

CREATE TABLE dynaview_verifications (
	"view" VARCHAR(200) NOT NULL,
	begun FLOAT NOT NULL,
	result TEXT NOT NULL,
	PRIMARY KEY ("view")
);

CREATE TABLE dynaview_views (
	name VARCHAR(200) NOT NULL,
	source VARCHAR(200) NOT NULL,
	sink VARCHAR(200) NOT NULL,
	numbered INTEGER NOT NULL,
	stream_arn TEXT,
	stream_count INTEGER NOT NULL,
	revision INTEGER NOT NULL,
	write_order VARCHAR(100) NOT NULL,
	state VARCHAR(20) NOT NULL,
	reason TEXT NOT NULL,
	since FLOAT NOT NULL,
	seen FLOAT NOT NULL,
	watermark FLOAT,
	awaited FLOAT,
	read BIGINT NOT NULL,
	applied BIGINT NOT NULL,
	stale BIGINT NOT NULL,
	unmatched BIGINT NOT NULL,
	dead_lettered BIGINT NOT NULL,
	PRIMARY KEY (name)
);

CREATE TABLE dynaview_workers (
	id VARCHAR(200) NOT NULL,
	grp VARCHAR(64) NOT NULL,
	source VARCHAR(200) NOT NULL,
	host VARCHAR(200) NOT NULL,
	pid BIGINT NOT NULL,
	sharing BOOLEAN NOT NULL,
	started FLOAT NOT NULL,
	expires FLOAT NOT NULL,
	PRIMARY KEY (id)
);
