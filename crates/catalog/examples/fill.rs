//! Fills a catalog for measurements: `cargo run --release -p catalog --example fill -- URL PROJECT ITEMS POLICIES SERVERS`.
//!
//! The items are spread evenly over the policies, each policy has its share of the servers, each run of a policy
//! makes one item a server. Every item has two volumes, every fourth two tags, every hundredth failed; the oldest
//! tenth has a replication record that is done. What a worker would look for in the vault (manifest, domain) is
//! that of the newest item the catalog holds, if it holds one. The same arguments give the same rows.

use std::error::Error;

use model::ids::{PolicyId, ProjectId, ScheduledOperationId, TriggerId};
use model::policy::{OperationDefinition, Policy, PolicyResource, ScheduledOperation, Trigger};
use model::retention::{Retention, RetentionFields};
use model::schedule::Pattern;
use model::server::{Server, Volume, VolumeFormat};
use model::text::{Description, Name, Tag};
use model::time::Timestamp;
use sqlx::{Any, AnyPool, Row as _, Transaction};

/// 2026-01-01T00:00:00 UTC, in microseconds.
const BEGIN_MICROS: i64 = 1_767_225_600_000_000;
const HOUR_MICROS: i64 = 3_600_000_000;
const PATTERN: &str = "BEGIN:VCALENDAR\r\nBEGIN:VEVENT\r\nRRULE:FREQ=DAILY;BYHOUR=1;BYMINUTE=30\r\nEND:VEVENT\r\nEND:VCALENDAR\r\n";
/// Rows of one statement.
const ROWS: usize = 100;

type Outcome<T> = Result<T, Box<dyn Error>>;

/// What is to be made.
struct Order {
    project: ProjectId,
    items: u64,
    policies: u64,
    servers: u64,
    /// Tells the ids of this fill from those of another one.
    salt: u64,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Outcome<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [url, project, items, policies, servers] = arguments.as_slice() else {
        return Err("fill URL PROJECT ITEMS POLICIES SERVERS".into());
    };
    let salt = blake(project);
    let order = Order {
        project: project.parse()?,
        items: items.parse()?,
        policies: policies.parse()?,
        servers: servers.parse()?,
        salt,
    };
    let catalog = catalog::Catalog::open(url).await?;
    for policy in 0..order.policies {
        order.add_policy(&catalog, policy).await?;
    }
    catalog.close().await;
    let database = AnyPool::connect(url).await?;
    let mut tx = database.begin().await?;
    let source = newest_item(&mut tx).await?;
    order.add_items(&mut tx, &source).await?;
    tx.commit().await?;
    println!("{} items of {} policies and {} servers", order.items, order.policies, order.servers);
    Ok(())
}

/// A small hash, for ids that differ between projects.
fn blake(text: &str) -> u64 {
    text.bytes()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3))
}

/// Scatters numbers, so that ids come in no order.
fn scattered(number: u64) -> u64 {
    let mixed = number.wrapping_add(0x9e37_79b9_7f4a_7c15).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    (mixed ^ (mixed >> 31)).wrapping_mul(0x94d0_49bb_1331_11eb)
}

/// The values of one kind of row, statement by statement.
struct Batch {
    insert: String,
    columns: usize,
    values: Vec<Cell>,
}

enum Cell {
    Text(String),
    Number(i64),
    Bytes(Vec<u8>),
    Nothing,
}

impl Batch {
    fn into(table: &str, columns: &str) -> Batch {
        let insert = format!("INSERT INTO {table} ({columns}) VALUES ");
        Batch { insert, columns: columns.split(',').count(), values: Vec::new() }
    }

    async fn push(&mut self, tx: &mut Transaction<'static, Any>, row: Vec<Cell>) -> Outcome<()> {
        assert_eq!(row.len(), self.columns, "a value for each column of {}", self.insert);
        self.values.extend(row);
        if self.values.len() == self.columns * ROWS { self.write(tx).await } else { Ok(()) }
    }

    async fn write(&mut self, tx: &mut Transaction<'static, Any>) -> Outcome<()> {
        let rows = self.values.len() / self.columns;
        if rows == 0 {
            return Ok(());
        }
        let row = |row: usize| {
            let places: Vec<String> =
                (1..=self.columns).map(|place| format!("${}", row * self.columns + place)).collect();
            format!("({})", places.join(", "))
        };
        let sql = self.insert.clone() + &(0..rows).map(row).collect::<Vec<_>>().join(", ");
        let mut query = sqlx::query(sqlx::AssertSqlSafe(sql));
        for value in self.values.drain(..) {
            query = match value {
                Cell::Text(text) => query.bind(text),
                Cell::Number(number) => query.bind(number),
                Cell::Bytes(bytes) => query.bind(bytes),
                Cell::Nothing => query.bind(None::<String>),
            };
        }
        query.execute(&mut **tx).await?;
        Ok(())
    }
}

fn text(text: impl ToString) -> Cell {
    Cell::Text(text.to_string())
}

/// What the vault knows of an item.
struct Source {
    manifest: Vec<u8>,
    domain: Vec<u8>,
}

async fn newest_item(tx: &mut Transaction<'static, Any>) -> Outcome<Source> {
    let sql = "SELECT manifest_digest, domain FROM checkpoint_items WHERE manifest_digest IS NOT NULL \
               ORDER BY created_at DESC LIMIT 1";
    match sqlx::query(sql).fetch_optional(&mut **tx).await? {
        Some(row) => Ok(Source { manifest: row.try_get(0)?, domain: row.try_get(1)? }),
        None => Ok(Source { manifest: vec![0xee; 32], domain: vec![0xdd; 16] }),
    }
}

impl Order {
    fn id(&self, kind: u64, number: u64) -> [u8; 16] {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&scattered(self.salt ^ (kind << 56) ^ number).to_be_bytes());
        bytes[8..].copy_from_slice(&(self.salt ^ (kind << 56) ^ number).to_be_bytes());
        bytes
    }

    fn id_text(&self, kind: u64, number: u64) -> String {
        // All our ids look alike.
        PolicyId::from_entropy(self.id(kind, number)).to_string()
    }

    fn policy_id(&self, policy: u64) -> PolicyId {
        PolicyId::from_entropy(self.id(1, policy))
    }

    fn server_name(&self, server: u64) -> String {
        format!("{}-{server:04}", ["web", "db", "mail", "build", "files"][server as usize % 5])
    }

    fn server_id(&self, server: u64) -> String {
        format!("{:04x}-{}", self.salt & 0xffff, self.server_name(server))
    }

    /// The servers of a policy, by number.
    fn servers_of(&self, policy: u64) -> impl Iterator<Item = u64> + use<> {
        (policy..self.servers).step_by(self.policies as usize)
    }

    async fn add_policy(&self, catalog: &catalog::Catalog, policy: u64) -> Outcome<()> {
        let now = Timestamp::from_micros(BEGIN_MICROS);
        let mut resources = Vec::new();
        for server in self.servers_of(policy) {
            let (id, name) = (self.server_id(server), self.server_name(server));
            let volume = |disk: &str| {
                Ok::<_, Box<dyn Error>>(Volume {
                    id: format!("{id}-{disk}").parse()?,
                    name: disk.to_owned(),
                    path: format!("/srv/filled/{id}-{disk}.raw"),
                    format: VolumeFormat::Raw,
                    size_bytes: 40 << 30,
                    bootable: disk == "root",
                })
            };
            let volumes = vec![volume("root")?, volume("data")?];
            let project_id = self.project.clone();
            let new = Server { id: id.parse()?, project_id, name: name.clone(), volumes, created_at: now };
            catalog.register_server(&new).await?;
            let id = id.parse()?;
            resources.push(PolicyResource { id, name, extra_info: None, excluded_volumes: Vec::new() });
        }
        let keep = RetentionFields { max_backups: 0, ..RetentionFields::default() };
        let operation = ScheduledOperation {
            id: ScheduledOperationId::from_entropy(self.id(2, policy)),
            name: format!("filled-{policy}-backup"),
            description: Description::default(),
            enabled: false,
            definition: OperationDefinition::Backup { retention: Retention::new(keep)? },
            trigger: Trigger {
                id: TriggerId::from_entropy(self.id(3, policy)),
                pattern: Pattern::parse(PATTERN)?,
                start_time: now,
            },
        };
        let new = Policy {
            id: self.policy_id(policy),
            project_id: self.project.clone(),
            name: Name::new(&format!("filled-{policy}"))?,
            description: Description::default(),
            parameters: "{}".to_owned(),
            resources,
            operations: vec![operation],
            tags: vec![Tag::new("team", "storage")?],
            created_at: now,
            updated_at: now,
        };
        Ok(catalog.create_policy(&new, None).await?)
    }

    async fn add_items(&self, tx: &mut Transaction<'static, Any>, source: &Source) -> Outcome<()> {
        let mut checkpoints = Batch::into(
            "checkpoints",
            "id, project_id, policy_id, plan_id, plan_name, auto_trigger, created_at",
        );
        let mut items = Batch::into(
            "checkpoint_items",
            "id, checkpoint_id, project_id, policy_id, resource_id, resource_name, name, state, auto_trigger, \
             incremental, progress_percent, progress_bytes, logical_bytes, added_bytes, manifest_digest, domain, \
             operation_id, sequence, created_at, updated_at, protected_at, finished_at, failure_operation, \
             failure_code, failure_reason",
        );
        let mut volumes = Batch::into(
            "volume_backups",
            "id, item_id, position, volume_id, volume_name, size_bytes, bootable",
        );
        let mut tags = Batch::into("item_tags", "item_id, position, tag_key, tag_value, project_id");
        let mut records = Batch::into("replication_records", RECORD_COLUMNS);
        let (mut run, mut number) = (0, 0);
        while number < self.items {
            let policy = run % self.policies;
            let policy_id = self.policy_id(policy);
            let created_at = BEGIN_MICROS + (run as i64) * HOUR_MICROS / 12;
            let checkpoint = self.id_text(4, run);
            let row = vec![
                text(&checkpoint),
                text(&self.project),
                text(policy_id),
                text(policy_id),
                text(format!("filled-{policy}")),
                Cell::Number(1),
                Cell::Number(created_at),
            ];
            checkpoints.push(tx, row).await?;
            checkpoints.write(tx).await?;
            for server in self.servers_of(policy).take((self.items - number) as usize) {
                let item = self.id_text(5, number);
                let row = self.item_row(number, server, &policy_id, &checkpoint, created_at, source);
                items.push(tx, row).await?;
                items_before(&mut items, tx, &[&volumes, &tags, &records]).await?;
                for row in self.volume_rows(number, server, &item) {
                    volumes.push(tx, row).await?;
                }
                for mut row in Order::tag_rows(number, server, &item) {
                    row.push(text(&self.project));
                    tags.push(tx, row).await?;
                }
                if number < self.items / 10 && !number.is_multiple_of(100) {
                    records
                        .push(tx, self.record_row(number, &item, &checkpoint, &policy_id, created_at))
                        .await?;
                }
                number += 1;
            }
            run += 1;
        }
        items.write(tx).await?;
        for mut rest in [volumes, tags, records] {
            rest.write(tx).await?;
        }
        Ok(())
    }

    fn volume_rows(&self, number: u64, server: u64, item: &str) -> Vec<Vec<Cell>> {
        let row = |(position, disk): (u64, &str)| {
            vec![
                text(self.id_text(6, number * 2 + position)),
                text(item),
                Cell::Number(position as i64),
                text(format!("{}-{disk}", self.server_id(server))),
                text(disk),
                Cell::Number(40 << 30),
                Cell::Number(i64::from(position == 0)),
            ]
        };
        (0..).zip(["root", "data"]).map(row).collect()
    }

    fn tag_rows(number: u64, server: u64, item: &str) -> Vec<Vec<Cell>> {
        if !number.is_multiple_of(4) {
            return Vec::new();
        }
        let tags = [("team", format!("team-{}", server % 7)), ("tier", format!("t{}", number % 3))];
        let row = |(position, (key, value)): (i64, (&str, String))| {
            vec![text(item), Cell::Number(position), text(key), text(value)]
        };
        (0..).zip(tags).map(row).collect()
    }

    fn item_row(
        &self,
        number: u64,
        server: u64,
        policy: &PolicyId,
        checkpoint: &str,
        created_at: i64,
        source: &Source,
    ) -> Vec<Cell> {
        let has_failed = number.is_multiple_of(100);
        let done_at = created_at + 1_000_000 * (60 + (scattered(number) % 900) as i64);
        let told = |told: &str| if has_failed { text(told) } else { Cell::Nothing };
        vec![
            text(self.id_text(5, number)),
            text(checkpoint),
            text(&self.project),
            text(policy),
            text(self.server_id(server)),
            text(self.server_name(server)),
            text(format!("autobk_{:04x}", scattered(number) & 0xffff)),
            text(if has_failed { "error" } else { "available" }),
            Cell::Number(1),
            Cell::Number(1),
            Cell::Number(100),
            Cell::Number(80 << 30),
            Cell::Number(80 << 30),
            Cell::Number(300 << 20),
            if has_failed { Cell::Nothing } else { Cell::Bytes(source.manifest.clone()) },
            if has_failed { Cell::Nothing } else { Cell::Bytes(source.domain.clone()) },
            text(self.id_text(7, number)),
            Cell::Number(number as i64),
            Cell::Number(created_at),
            Cell::Number(done_at),
            Cell::Number(created_at + 1_000_000),
            Cell::Number(done_at),
            told("backup"),
            told("CSBS.9999"),
            told("the disk could not be read"),
        ]
    }

    fn record_row(
        &self,
        number: u64,
        item: &str,
        checkpoint: &str,
        policy: &PolicyId,
        created_at: i64,
    ) -> Vec<Cell> {
        let done_at = created_at + HOUR_MICROS;
        vec![
            text(self.id_text(8, number)),
            text(item),
            text(checkpoint),
            text(&self.project),
            text("elsewhere"),
            text("project-there"),
            text(policy),
            text(self.id_text(9, 0)),
            text("done"),
            Cell::Number(1),
            Cell::Number(1),
            Cell::Number(1),
            Cell::Number(0),
            Cell::Number(1),
            Cell::Number(300 << 20),
            Cell::Number(0),
            Cell::Number(0),
            Cell::Number(300 << 20),
            Cell::Number(1),
            Cell::Number(created_at),
            text(""),
            text(""),
            text(self.id_text(10, number)),
            text(self.id_text(11, number)),
            Cell::Bytes(vec![7; 480]),
            Cell::Number(1),
            Cell::Number(done_at),
            Cell::Number(done_at),
        ]
    }
}

const RECORD_COLUMNS: &str = "id, checkpoint_item_id, checkpoint_id, source_project_id, destination_region, \
    destination_project_id, policy_id, grant_id, state, is_current, auto_trigger, by_scheduler, \
    enable_acceleration, generation, sent_bytes, resent_bytes, skipped_bytes, planned_bytes, attempts, try_at, \
    reason_code, reason, destination_checkpoint_id, destination_item_id, receipt, receipt_head_counter, created_at, \
    updated_at";

/// Writes the items first when rows that point at them are about to be written.
async fn items_before(
    items: &mut Batch,
    tx: &mut Transaction<'static, Any>,
    pointing: &[&Batch],
) -> Outcome<()> {
    let is_near = |batch: &&&Batch| batch.values.len() + 2 * batch.columns >= batch.columns * ROWS;
    if pointing.iter().any(|batch| is_near(&batch)) { items.write(tx).await } else { Ok(()) }
}
