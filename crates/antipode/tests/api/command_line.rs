//! The command line against a region on loopback: what scripts rest on.

use std::path::Path;
use std::process::{Output, Stdio};
use std::sync::Arc;
use std::time::Duration;

use antipode::http::listener::{ConnectionLimits, serve};
use antipode::http::{Limits, Site, router};
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::sync::watch;
use vault::ids::to_hex;
use vault::seams::{Clock, SeededEntropy};

use crate::support::{DISK_BYTES, Fault, NOBODY, PASSWORD, World, write_disk};

/// A world whose source listens on loopback.
struct Shell {
    world: World,
    url: String,
    _stop: watch::Sender<bool>,
}

impl Shell {
    async fn open() -> Shell {
        let world = World::paired().await;
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let site = Site {
            api_url: url.clone(),
            limits: Limits { body_bytes_max: 64 * 1024, body_timeout_seconds: 5 },
            entropy: Arc::new(SeededEntropy::new(9)),
        };
        let limits = ConnectionLimits {
            connections_max: 8,
            reader_timeout: Duration::from_secs(5),
            header_timeout: Duration::from_secs(30),
            shutdown: Duration::from_secs(1),
        };
        let (_stop, stopped) = watch::channel(false);
        tokio::spawn(serve(listener, router(world.a.control.clone(), site), limits, stopped));
        Shell { world, url, _stop }
    }

    /// Runs one command to its end, while the region works.
    async fn run(&self, line: &str) -> Output {
        self.run_as("admin", PASSWORD, line).await
    }

    async fn run_as(&self, user: &str, password: &str, line: &str) -> Output {
        let who = [("OS_USERNAME", user), ("OS_PASSWORD", password), ("OS_PROJECT_NAME", "eu-a")];
        self.run_with(&who, line).await
    }

    /// Runs one command with these variables.
    async fn run_with(&self, variables: &[(&str, &str)], line: &str) -> Output {
        let child = tokio::process::Command::new(env!("CARGO_BIN_EXE_antipode"))
            .args(line.split_whitespace())
            .env_clear()
            .env("OS_AUTH_URL", &self.url)
            .envs(variables.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut ended = std::pin::pin!(child.wait_with_output());
        loop {
            tokio::select! {
                output = ended.as_mut() => return output.unwrap(),
                () = self.world.a.work() => tokio::task::yield_now().await,
            }
        }
    }

    /// Runs a command that must succeed; its answer as JSON.
    async fn json(&self, line: &str) -> Value {
        let output = self.run(&format!("{line} --json")).await;
        assert_eq!(output.status.code(), Some(0), "{line}: {}", text(&output.stderr));
        serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{line}: {}", text(&output.stdout)))
    }

    /// Runs a command that must end with a code.
    async fn ends(&self, line: &str, code: i32, named: &str) {
        let output = self.run(line).await;
        let told = text(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{line}: {told}");
        assert!(told.contains(named), "{line}: {named:?} is not in {told:?}");
        assert!(output.stdout.is_empty(), "{line}: {}", text(&output.stdout));
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn refusals_have_exit_codes_and_say_why_on_standard_error() {
    let shell = Shell::open().await;
    shell.ends("policy frobnicate", 2, "frobnicate").await;
    shell.ends(&format!("policy show {NOBODY}"), 4, "CSBS.3000").await;
    shell.ends("policy show nope", 4, "there is no policy nope").await;
    shell.ends(&format!("policy replicate {NOBODY} --to nonsense"), 2, "REGION/PROJECT").await;
    shell.ends(&format!("policy delete {NOBODY}"), 2, "--yes").await;
    shell.ends("policy create p --server nope", 4, "there is no server nope").await;
    shell.ends("policy list --password-file /nonexistent/file", 2, "/nonexistent/file").await;
    shell.ends("policy list --region eu-z", 4, "eu-z").await;
    shell.ends("policy list --project nowhere", 5, "wrong").await;
    let wrong = shell.run_as("admin", "wrong", "policy list").await;
    assert_eq!(wrong.status.code(), Some(5), "{}", text(&wrong.stderr));
    shell.world.a.user("reader", "reader").await;
    let reader = shell.run_as("reader", PASSWORD, "region list").await;
    assert_eq!(reader.status.code(), Some(5), "{}", text(&reader.stderr));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_main_job_can_be_done_from_a_shell() {
    let shell = Shell::open().await;
    let world = &shell.world;
    let path = world.a.disk("db1");
    write_disk(&path, DISK_BYTES, 3);
    let server = shell.json(&format!("server add db1 --id i-1 --volume root={}", path.display())).await;
    assert_eq!((&server["id"], &server["volumes"][0]["bootable"]), (&Value::from("i-1"), &Value::from(true)));
    let create = "policy create nightly --server db1 --at FREQ=DAILY;BYHOUR=1;BYMINUTE=30 --keep-last 3";
    let policy = shell.json(create).await;
    assert_eq!(policy["scheduled_operations"][0]["enabled"], true);
    let policy = shell.json("policy update nightly --disable --keep-days 9").await;
    let definition = &policy["scheduled_operations"][0]["operation_definition"];
    assert_eq!(
        (&definition["max_backups"], &definition["retention_duration_days"]),
        (&Value::from(3), &Value::from(9))
    );

    let items = shell.json("policy run nightly --wait --timeout 60").await;
    assert_eq!(items[0]["status"], "available");
    let to = format!("--to eu-b/{}", world.b.admin.project_id);
    let records = shell.json(&format!("policy replicate nightly {to} --wait --timeout 60")).await;
    assert_eq!(
        (&records[0]["state"], &records[0]["has_receipt"]),
        (&Value::from("done"), &Value::from(true))
    );
    let again = shell.run(&format!("policy replicate nightly {to}")).await;
    assert_eq!(again.status.code(), Some(0));
    assert_eq!(text(&again.stdout).trim(), "nothing to replicate");
    assert!(text(&again.stderr).contains("already-replicated=1"), "{}", text(&again.stderr));
    shell.ends(&format!("item replicate db1@latest {to}"), 6, "BackupService.1009").await;

    let before = std::fs::read(&path).unwrap();
    write_disk(&path, DISK_BYTES, 4);
    shell.ends("restore start db1@latest", 2, "--yes").await;
    let restore = shell.json("restore start db1@latest --server db1 --yes --wait --timeout 60").await;
    assert_eq!(restore["status"], "success");
    assert!(std::fs::read(&path).unwrap() == before, "the disk differs");
    deletion_ends_in_not_found(&shell).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_operator_sets_a_quota_from_a_shell() {
    let shell = Shell::open().await;
    let set = shell.json("quota set eu-a --backups 3 --capacity -1").await;
    let quotas =
        |rows: &Value| (rows[0]["quota"].as_i64(), rows[1]["quota"].as_i64(), rows[1]["used"].as_u64());
    assert_eq!(quotas(&set), (Some(-1), Some(3), Some(0)));
    assert_eq!(shell.json("quota show").await, set);
    assert_eq!(shell.json("quota show eu-a").await, set);
    shell.ends("quota set eu-a", 2, "--backups").await;
    shell.ends("quota set eu-a --backups -2", 1, "quotas.backups").await;
    shell.ends("quota set nowhere --backups 1", 4, "there is no project nowhere").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replications_are_paused_taken_back_and_proved_from_a_shell() {
    let shell = Shell::open().await;
    let world = &shell.world;
    world.backed_up().await;
    world.links.set_fault(Some(Fault::Down));
    assert_eq!(world.replicate_item(&world.a.all_items().await[0]).await.status, 200);
    let record = shell.json("replication list").await[0]["id"].as_str().unwrap().to_owned();
    let paused = shell.json(&format!("replication pause {}", &record[..13])).await;
    assert_ne!(paused[0]["paused_at"], Value::Null);
    let resumed = shell.json(&format!("replication resume {record}")).await;
    assert_eq!((&resumed[0]["id"], &resumed[0]["paused_at"]), (&Value::from(record.as_str()), &Value::Null));
    assert_eq!(
        shell.json("replication pause --policy nightly").await,
        Value::Array(vec![]),
        "it has no policy"
    );
    let cancelled = shell.json(&format!("replication cancel {record}")).await;
    assert_eq!(cancelled[0]["state"], "cancelled");
    shell.ends(&format!("replication resume {record}"), 6, "cannot be resumed").await;
    let both = shell.run(&format!("replication cancel {record} {record}")).await;
    assert_eq!(both.status.code(), Some(1), "neither: {}", text(&both.stderr));
    shell.ends(&format!("receipt show {record}"), 4, "cancelled").await;

    world.links.set_fault(None);
    let second = shell.json(&format!("replication retry {record}")).await[0]["id"].clone();
    let second = second.as_str().unwrap();
    shell.json(&format!("replication watch {second} --timeout 60")).await;
    assert_eq!(shell.json("receipt list").await[0]["id"], second);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("receipt");
    let shown = shell.json(&format!("receipt show {second} --out {}", file.display())).await;
    check_receipt(&shell, &file, &shown["manifest"]).await;

    assert_eq!(shell.run("region limit eu-b 10MiB").await.status.code(), Some(0));
    assert_eq!(shell.json("region list").await[0]["limit"]["bytes_per_second"], 10 << 20);
    shell.ends("region limit eu-b fast", 2, "no rate").await;
    shell.ends("region limit eu-b 1000", 1, "limit.bytes_per_second").await;
    shell.ends("region limit eu-z none", 4, "eu-z").await;
    assert_eq!(shell.run("region limit eu-b none").await.status.code(), Some(0));
}

/// Checks a receipt file where no region answers, with the right key, other keys, and one byte changed.
async fn check_receipt(shell: &Shell, file: &Path, manifest: &Value) {
    let nowhere = [("OS_AUTH_URL", "http://127.0.0.1:1")];
    let root_key = *shell.world.b.control.identity().card().root_key();
    let other = *shell.world.a.control.identity().card().root_key();
    let verify = async |key: &str| {
        let line = format!("receipt verify {} --key {key} --json", file.display());
        let output = shell.run_with(&nowhere, &line).await;
        (output.status.code(), text(&output.stdout), text(&output.stderr))
    };
    for key in [to_hex(&root_key.0), to_hex(&root_key.fingerprint()).to_uppercase()] {
        let (code, proved, told) = verify(&key).await;
        assert_eq!(code, Some(0), "{told}");
        let proved: Value = serde_json::from_str(&proved).unwrap();
        assert_eq!((&proved["manifest"], &proved["destination_region"]), (manifest, &Value::from("eu-b")));
    }
    let (code, _, told) = verify(&to_hex(&other.0)).await;
    assert!(code == Some(1) && told.contains("another region"), "{told}");
    let (code, _, told) = verify("00").await;
    assert!(code == Some(2) && told.contains("64 hex digits"), "{told}");
    let mut bytes = std::fs::read(file).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(file, &bytes).unwrap();
    let (code, proved, told) = verify(&to_hex(&root_key.0)).await;
    assert!(code == Some(1) && proved.is_empty() && told.contains("does not verify"), "{told}");
}

async fn deletion_ends_in_not_found(shell: &Shell) {
    let ids = shell.run("checkpoint list -q").await;
    let id = text(&ids.stdout).trim().to_owned();
    assert_eq!(id.len(), 36, "{id}");
    let deleted = shell.run(&format!("checkpoint delete {id} --yes --wait --timeout 60")).await;
    assert_eq!(deleted.status.code(), Some(0), "{}", text(&deleted.stderr));
    shell.ends(&format!("checkpoint show {id}"), 4, &id).await;
    shell.ends("item show db1@latest", 4, "db1").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn programs_log_in_by_any_of_the_usual_variables() {
    let shell = Shell::open().await;
    let world = &shell.world;
    // Signatures carry the date of this machine, which the region must believe.
    let now_ms = antipode::world::SystemClock.now_ms();
    world.clock.advance_seconds((now_ms - world.clock.now_ms()) / 1000);
    let admin = world.a.admin.relog("admin", Some("eu-a")).await;
    let works = async |variables: &[(&str, &str)], line: &str| {
        let output = shell.run_with(variables, line).await;
        assert_eq!(output.status.code(), Some(0), "{variables:?}: {}", text(&output.stderr));
        text(&output.stdout)
    };
    works(&[("OS_TOKEN", admin.token.as_deref().unwrap()), ("OS_PROJECT_NAME", "eu-a")], "policy list").await;

    let users = admin.get("/identity/v3/users?name=admin").await;
    let path = format!("/identity/v3/users/{}/application_credentials", users.texts("users", "id")[0]);
    let made = admin.post(&path, &serde_json::json!({ "application_credential": { "name": "ci" } })).await;
    let (id, secret) = (made.text("application_credential.id"), made.text("application_credential.secret"));
    let by_id = [
        ("OS_AUTH_TYPE", "v3applicationcredential"),
        ("OS_APPLICATION_CREDENTIAL_ID", id.as_str()),
        ("OS_APPLICATION_CREDENTIAL_SECRET", secret.as_str()),
    ];
    works(&by_id, "policy list").await;
    let by_name = [
        ("OS_APPLICATION_CREDENTIAL_NAME", "ci"),
        ("OS_USERNAME", "admin"),
        ("OS_APPLICATION_CREDENTIAL_SECRET", secret.as_str()),
    ];
    works(&by_name, "policy list").await;
    let wrong =
        shell.run_with(&[by_id[0], by_id[1], ("OS_APPLICATION_CREDENTIAL_SECRET", "x")], "policy list").await;
    assert_eq!(wrong.status.code(), Some(5), "{}", text(&wrong.stderr));

    let key = shell.json("credential create --description ci").await;
    let (access, secret) = (key["id"].as_str().unwrap(), key["secret"].as_str().unwrap());
    let signs = [("OS_ACCESS_KEY", access), ("OS_SECRET_KEY", secret)];
    works(&signs, "policy list").await;
    write_disk(&world.a.disk("db1"), DISK_BYTES, 3);
    shell.json(&format!("server add db1 --id i-1 --volume root={}", world.a.disk("db1").display())).await;
    works(&signs, "policy create nightly --server db1 --at FREQ=DAILY;BYHOUR=1;BYMINUTE=30 --keep-last 3")
        .await;
    assert!(works(&signs, "policy list").await.contains("nightly"));
    assert!(works(&signs, "credential list").await.contains(access));
    assert_eq!(shell.json(&format!("credential show {access}")).await["description"], "ci");
    works(
        &[("OS_USERNAME", "admin"), ("OS_PASSWORD", PASSWORD), ("OS_PROJECT_NAME", "eu-a")],
        &format!("credential delete {access}"),
    )
    .await;
    let gone = shell.run_with(&signs, "policy list").await;
    assert_eq!(gone.status.code(), Some(5), "{}", text(&gone.stderr));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn users_and_projects_are_administered_from_a_shell() {
    let shell = Shell::open().await;
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, password: &str| {
        std::fs::write(folder.path().join(name), format!("{password}\n")).unwrap();
        folder.path().join(name).display().to_string()
    };
    let first = file("first", "first good password");
    let user = shell.json(&format!("user create anna --new-password-file {first} --description staff")).await;
    assert_eq!((&user["name"], &user["description"]), (&Value::from("anna"), &Value::from("staff")));
    let project = shell.json("project create shop --description sells").await;
    assert_eq!(project["description"], "sells");
    shell.run("user assign anna member --in shop").await;
    let shop = |password: &'static str| {
        [("OS_USERNAME", "anna"), ("OS_PASSWORD", password), ("OS_PROJECT_NAME", "shop")]
    };
    let log_in = async |password| shell.run_with(&shop(password), "policy list").await.status.code();
    assert_eq!(log_in("first good password").await, Some(0));
    let second = file("second", "second good password");
    shell.json(&format!("user set anna --new-password-file {second} --name anna")).await;
    assert_eq!(
        (log_in("first good password").await, log_in("second good password").await),
        (Some(5), Some(0))
    );
    assert_eq!(shell.json("user set anna --disable").await["enabled"], false);
    assert_eq!(log_in("second good password").await, Some(5));
    assert_eq!(shell.json("user set anna --enable").await["enabled"], true);
    assert_eq!(shell.json("project set shop --disable").await["enabled"], false);
    assert_eq!(log_in("second good password").await, Some(5));
    assert_eq!(shell.json("project set shop --enable --name store").await["name"], "store");
    assert_eq!(shell.json("project show store").await["id"], project["id"]);
    assert_eq!(shell.json("user show anna").await["id"], user["id"]);
    assert_eq!(shell.run("user unassign anna member --in store").await.status.code(), Some(0));
    shell.ends("user unassign anna member --in store", 4, "role assignment").await;
    assert_eq!(shell.run("user delete anna").await.status.code(), Some(0));
    assert_eq!(shell.run("project delete store").await.status.code(), Some(0));
    shell.ends("project show store", 4, "store").await;
    shell.ends("user delete admin", 6, "operator").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_covered_and_why_not_can_be_asked_from_a_shell() {
    let shell = Shell::open().await;
    let world = &shell.world;
    let (_, item) = world.backed_up().await;
    let to = format!("--to eu-b/{}", world.b.admin.project_id);
    let told = shell.json("item explain db1@latest").await;
    assert_eq!(told["destinations"][0]["reason_code"], "not-a-destination");
    let plan = shell.json(&format!("policy replicate nightly {to} --plan")).await;
    assert_eq!(
        (&plan["item_count"], &plan["checkpoint_items"][0]),
        (&Value::from(1), &Value::from(item.clone()))
    );
    assert_eq!(world.record_count().await, 0);
    let empty = shell.run("coverage check").await;
    assert_eq!(
        (empty.status.code(), text(&empty.stdout).trim()),
        (Some(0), "0 looked at, nothing breached or unproven")
    );

    let set = shell.json("policy destination set nightly --to eu-b --rpo 1h").await;
    assert_eq!(set["rpo_seconds"], 3600);
    assert_eq!(shell.json("policy destination list nightly").await[0]["id"], "eu-b");
    assert_eq!(shell.json("coverage show").await[0]["verdict"], "at-risk");
    assert_eq!(shell.run("coverage check").await.status.code(), Some(0));
    let shown = text(&shell.run("coverage show --all-projects").await.stdout);
    assert!(shown.contains("db1") && shown.contains("at-risk") && shown.contains("1h 0m"), "{shown}");
    shell.run("policy destination set nightly --to eu-b --rpo 1s").await;
    world.clock.advance_seconds(5);
    let alarm = shell.run("coverage check").await;
    assert_eq!(alarm.status.code(), Some(7), "{}", text(&alarm.stderr));
    assert!(text(&alarm.stderr).contains("1 of 1 are breached or unproven"), "{}", text(&alarm.stderr));
    assert!(text(&alarm.stdout).contains("breached"), "{}", text(&alarm.stdout));

    shell.json(&format!("policy replicate nightly {to} --wait --timeout 60")).await;
    let explained = text(&shell.run(&format!("item explain {item} --to eu-b")).await.stdout);
    assert!(explained.contains("replicated") && explained.contains("nothing to do"), "{explained}");
    shell.run("policy destination set nightly --to eu-b --rpo none").await;
    let shown = text(&shell.run("coverage show").await.stdout);
    assert!(shown.contains("no target"), "{shown}");
    shell.ends("policy destination set nightly --to eu-b --rpo soon", 2, "26h").await;
    shell.ends("policy destination set nightly --to eu-z --rpo 1h", 1, "region_name").await;
    shell.ends(&format!("item explain {NOBODY}"), 4, NOBODY).await;
}
