//! Making two regions ready for use: initialised, running, paired, with demo servers, users and grants.
//!
//! Every step looks first and does only what is missing, so a second start on the same folder continues
//! with what is there, also after a kill in the middle of the first.

use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use vault::seams::Entropy;

use super::api::{Account, RegionApi};
use super::failure::Failure;
use super::place::{Description, Place, RegionDescription, ServerDescription};
use super::process::{ServeProcess, create_private_file};
use super::region::{DOMAIN_NAME, Destination, NewVolume, Server, await_until};
use crate::config::Config;
use crate::demo::disks::{ServerPlan, make_disk};
use crate::init::{NewRegion, init_region};
use crate::world::SystemEntropy;

/// The operator of each region.
const ADMIN: &str = "admin";
/// The member of each demo project.
const MEMBER: &str = "demo";
/// The file of the recovery kit in a region's folder.
pub const KIT: &str = "recovery-kit.txt";
/// How long a region may take to be ready.
const READY_SECONDS: u64 = 60;
/// How long the grants of a region may take to be known at the other.
const GRANTS_SECONDS: u64 = 60;

/// What to set up.
#[derive(Clone, Debug)]
pub struct SetUp {
    /// Where.
    pub place: Place,
    /// The names of the regions, each with its servers.
    pub regions: [(String, &'static [ServerPlan]); 2],
    /// The first of four ports in a row; free ones when left out.
    pub port_base: Option<u16>,
    /// The `antipode` program.
    pub binary: PathBuf,
}

/// One region, running.
pub struct Region {
    /// Its name.
    pub name: String,
    /// Its configuration.
    pub config: Config,
    /// Its process.
    pub process: ServeProcess,
    /// The operator, for work on the region.
    pub operator: RegionApi,
    /// The admin of the demo project.
    pub admin: RegionApi,
    /// A member of the demo project.
    pub member: RegionApi,
    /// The demo project, which is named as the region.
    pub project_id: String,
    /// Its servers.
    pub servers: Vec<Server>,
    passwords: Passwords,
}

struct Passwords {
    admin: String,
    member: String,
}

impl Region {
    /// The member's view of the region as a destination.
    pub fn as_destination(&self) -> Destination {
        Destination { region: self.name.clone(), project_id: self.project_id.clone() }
    }

    /// Another session of the member.
    pub fn member_api(&self) -> RegionApi {
        RegionApi::new(self.operator.base_url(), account(MEMBER, &self.passwords.member, Some(&self.name)))
    }

    /// Another session of the operator.
    pub fn operator_api(&self) -> RegionApi {
        RegionApi::new(self.operator.base_url(), account(ADMIN, &self.passwords.admin, None))
    }

    /// Starts the process again and waits until it is ready.
    pub async fn start_again(&mut self) -> Result<(), Failure> {
        self.process
            .start_again()
            .map_err(|cause| Failure::Io { doing: format!("starting {}", self.name), cause })?;
        await_ready(&self.name, &mut self.process, &self.operator).await
    }

    fn description(&self) -> RegionDescription {
        let api_url = self.operator.base_url().to_owned();
        let peer = self.config.peer.clone();
        RegionDescription {
            name: self.name.clone(),
            identity_url: format!("{api_url}/identity/v3"),
            console_url: format!("{api_url}/console/"),
            api_url,
            peer_url: peer.url.unwrap_or_else(|| format!("https://{}", peer.listen)),
            project_id: self.project_id.clone(),
            project_name: self.name.clone(),
            domain_name: DOMAIN_NAME.to_owned(),
            username: MEMBER.to_owned(),
            password: self.passwords.member.clone(),
            admin_username: ADMIN.to_owned(),
            admin_password: self.passwords.admin.clone(),
        }
    }
}

/// What `dev.json` says about regions that are ready.
pub fn describe(regions: &[Region; 2]) -> Description {
    let server = |region: &Region, server: &Server| ServerDescription {
        region: region.name.clone(),
        id: server.id.clone(),
        name: server.name.clone(),
        volumes: server.volumes.clone(),
    };
    let servers =
        |region: &'_ Region| region.servers.iter().map(|one| server(region, one)).collect::<Vec<_>>();
    Description {
        regions: regions.iter().map(Region::description).collect(),
        servers: regions.iter().flat_map(servers).collect(),
    }
}

/// Sets up both regions; `say` is told each milestone.
pub async fn set_up(order: &SetUp, say: &mut dyn FnMut(&str)) -> Result<[Region; 2], Failure> {
    let [a, b] = &order.regions;
    if a.0 == b.0 {
        return Err(Failure::other("two regions need two names"));
    }
    let ports = choose_ports(order)?;
    let mut a = start_region(order, a, ports[0], say).await?;
    let mut b = start_region(order, b, ports[1], say).await?;
    pair(&a, &b, say).await?;
    grant(&a, &b).await?;
    grant(&b, &a).await?;
    await_grants(&a, &b).await?;
    await_grants(&b, &a).await?;
    say("grants stand in both directions");
    for (region, (_, plans)) in [&mut a, &mut b].into_iter().zip(&order.regions) {
        region.servers = register_servers(&order.place, region, plans, say).await?;
    }
    Ok([a, b])
}

/// Where one region listens.
#[derive(Clone, Copy)]
struct Ports {
    api: SocketAddr,
    peer: SocketAddr,
}

/// Ports for regions that have none yet. The listeners that found free ones are held until all are chosen.
fn choose_ports(order: &SetUp) -> Result<[Ports; 2], Failure> {
    let no_port = |cause| Failure::Io { doing: "looking for free ports".to_owned(), cause };
    let mut held = Vec::new();
    let mut next = |index: u16| -> Result<SocketAddr, Failure> {
        if let Some(base) = order.port_base {
            let port = base.checked_add(index).ok_or_else(|| Failure::other("--port-base is too large"))?;
            return Ok(SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
        }
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(no_port)?;
        let address = listener.local_addr().map_err(no_port)?;
        held.push(listener);
        Ok(address)
    };
    Ok([Ports { api: next(0)?, peer: next(1)? }, Ports { api: next(2)?, peer: next(3)? }])
}

async fn start_region(
    order: &SetUp,
    (name, _): &(String, &'static [ServerPlan]),
    ports: Ports,
    say: &mut dyn FnMut(&str),
) -> Result<Region, Failure> {
    let place = &order.place;
    let folder = place.region(name);
    if !folder.exists() {
        make_region(place, name, ports).await?;
        say(&format!("{name}: initialised, recovery kit in {}", folder.join(KIT).display()));
    }
    let files = place.serve_files(name, &order.binary);
    let config = Config::read(&files.config).map_err(|error| Failure::other(error.to_string()))?;
    if order.port_base.is_some() && config.api.listen != ports.api {
        return Err(Failure::other(format!(
            "{name} listens on {} since its first start; leave out --port-base, or use another --dir",
            config.api.listen
        )));
    }
    let api_url = config.api.url.clone().unwrap_or_else(|| format!("http://{}", config.api.listen));
    let passwords = Passwords { admin: password(&folder, ADMIN)?, member: password(&folder, MEMBER)? };
    let operator = RegionApi::new(&api_url, account(ADMIN, &passwords.admin, None));
    let admin = RegionApi::new(&api_url, account(ADMIN, &passwords.admin, Some(name)));
    let member = RegionApi::new(&api_url, account(MEMBER, &passwords.member, Some(name)));
    let doing = format!("starting {name}");
    let mut process = ServeProcess::start(files).map_err(|cause| Failure::Io { doing, cause })?;
    await_ready(name, &mut process, &operator).await?;
    let project_id = admin.project_id().await?;
    ensure_member(&operator, &member, &project_id, &passwords.member).await?;
    say(&format!("{name}: ready at {api_url}"));
    let name = name.clone();
    Ok(Region { name, config, process, operator, admin, member, project_id, servers: Vec::new(), passwords })
}

/// Makes a region in a folder beside its own and moves it there as the last step: a folder with the region's
/// name is whole.
async fn make_region(place: &Place, name: &str, ports: Ports) -> Result<(), Failure> {
    let folder = place.region(name);
    let unfinished = place.region(&format!("{name}.unfinished"));
    if unfinished.exists() {
        std::fs::remove_dir_all(&unfinished).map_err(Failure::io("removing", &unfinished))?;
    }
    let disks = place.disks(name);
    for needed in [&unfinished, &disks] {
        std::fs::create_dir_all(needed).map_err(Failure::io("making the folder", needed))?;
    }
    password(&unfinished, ADMIN)?;
    let region = NewRegion {
        folder: unfinished.clone(),
        name: name.to_owned(),
        api_listen: ports.api,
        peer_listen: ports.peer,
        source_roots: vec![disks],
        admin_name: ADMIN.to_owned(),
        admin_password_file: password_file(&unfinished, ADMIN),
        kit: unfinished.join(KIT),
        kit_shares: None,
        kek_passphrase_file: None,
    };
    let made = init_region(region).await;
    made.map_err(|error| Failure::Init { region: name.to_owned(), cause: error.into() })?;
    std::fs::rename(&unfinished, &folder).map_err(Failure::io("moving", &unfinished))
}

fn account(user: &str, password: &str, project_name: Option<&str>) -> Account {
    let project_name = project_name.map(str::to_owned);
    Account { user: user.to_owned(), password: password.to_owned(), project_name }
}

/// Waits until the region is ready, or says why it ended.
async fn await_ready(name: &str, process: &mut ServeProcess, api: &RegionApi) -> Result<(), Failure> {
    let look = async || {
        if let Some(status) = process.ended() {
            let (region, status) = (name.to_owned(), status.to_string());
            return Err(Failure::Ended { region, status, log_tail: process.log_tail() });
        }
        Ok(if process.has_lock() && api.is_ready().await { Ok(()) } else { Err("not ready".to_owned()) })
    };
    await_until(&format!("readiness of {name}"), READY_SECONDS, look).await
}

/// A password of 20 characters out of 32: 100 bits.
fn generate_password() -> String {
    const LETTERS: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";
    let mut chance = [0u8; 20];
    SystemEntropy.fill(&mut chance);
    chance.iter().map(|byte| char::from(LETTERS[usize::from(byte % 32)])).collect()
}

fn password_file(folder: &Path, user: &str) -> PathBuf {
    folder.join("secrets").join(format!("{user}-password"))
}

/// The password of a user, made and stored at the first call.
fn password(folder: &Path, user: &str) -> Result<String, Failure> {
    let path = password_file(folder, user);
    if let Ok(text) = std::fs::read_to_string(&path)
        && !text.trim().is_empty()
    {
        return Ok(text.trim().to_owned());
    }
    let password = generate_password();
    let write = || writeln!(create_private_file(&path)?, "{password}");
    write().map_err(Failure::io("writing", &path))?;
    Ok(password)
}

/// Makes the member, if logging in as one does not work yet.
async fn ensure_member(
    operator: &RegionApi,
    member: &RegionApi,
    project_id: &str,
    password: &str,
) -> Result<(), Failure> {
    if member.project_id().await.is_ok() {
        return Ok(());
    }
    let known: Value = operator.get("/identity/v3/users").await?;
    let find = |users: &Value| {
        let users = users["users"].as_array().into_iter().flatten();
        users.filter(|user| user["name"] == MEMBER).find_map(|user| user["id"].as_str().map(str::to_owned))
    };
    let id = match find(&known) {
        Some(id) => id,
        None => {
            let body = json!({ "user": { "name": MEMBER, "password": password } });
            let made: Value = operator.post("/identity/v3/users", &body).await?;
            made["user"]["id"].as_str().unwrap_or_default().to_owned()
        }
    };
    operator.put(&format!("/identity/v3/projects/{project_id}/users/{id}/roles/member")).await?;
    member.project_id().await?;
    Ok(())
}

/// Makes the disks of the planned servers and registers those that are missing.
pub async fn register_servers(
    place: &Place,
    region: &Region,
    plans: &[ServerPlan],
    say: &mut dyn FnMut(&str),
) -> Result<Vec<Server>, Failure> {
    let known = region.operator.all_servers().await?;
    let mut servers = Vec::new();
    for plan in plans {
        let folder = place.disks(&region.name).join(plan.name);
        let mut volumes = Vec::new();
        for (index, disk) in plan.disks.iter().enumerate() {
            let path = make_disk(&folder, disk).map_err(Failure::io("making a disk in", &folder))?;
            let path = path.display().to_string();
            volumes.push(NewVolume { name: disk.name.to_owned(), path, bootable: index == 0 });
        }
        let server = match known.iter().find(|server| server.name == plan.name) {
            Some(server) => server.clone(),
            None => {
                let server = region.operator.register_server(&region.project_id, plan.name, &volumes).await?;
                say(&format!("{}: server {} registered, {} disks", region.name, plan.name, volumes.len()));
                server
            }
        };
        servers.push(server);
    }
    Ok(servers)
}

/// Pairs `b` with `a`: `a` invites, `b` accepts, and the operator of `a` types the code that `b` shows. What
/// `b` grants to `a` is granted before that: it is what `a` asks for as soon as it may.
async fn pair(a: &Region, b: &Region, say: &mut dyn FnMut(&str)) -> Result<(), Failure> {
    if knows(a, b).await? && knows(b, a).await? {
        return Ok(());
    }
    let invited: Value =
        a.operator.post("/antipode/v1/regions/invitations", &json!({ "region": b.name })).await?;
    let accepted: Value = b.operator.post("/antipode/v1/regions/accept", &invited).await?;
    grant(a, b).await?;
    let path = format!("/antipode/v1/regions/{}/confirm", b.name);
    let _: Value = a.operator.post(&path, &json!({ "code": accepted["code"] })).await?;
    let code = accepted["code"].as_str().unwrap_or_default();
    say(&format!("{} and {} are paired: both operators saw {code}", a.name, b.name));
    Ok(())
}

/// Whether a region has another as a confirmed peer.
async fn knows(region: &Region, other: &Region) -> Result<bool, Failure> {
    let answer: Value = region.operator.get("/antipode/v1/regions").await?;
    let mut peers = answer["regions"].as_array().into_iter().flatten();
    Ok(peers.any(|peer| peer["name"] == other.name.as_str() && peer["is_confirmed"] == true))
}

/// The demo project of `to` accepts replicas of the demo project of `from`.
async fn grant(from: &Region, to: &Region) -> Result<(), Failure> {
    let answer: Value = to.admin.get("/antipode/v1/grants").await?;
    let mut grants = answer["grants"].as_array().into_iter().flatten();
    let is_this = |grant: &Value| {
        let source = (&grant["source_region"], &grant["source_project_id"]);
        source == (&json!(from.name), &json!(from.project_id)) && grant["revoked_at"].is_null()
    };
    if grants.any(is_this) {
        return Ok(());
    }
    let body = json!({ "grant": {
        "source_region": from.name, "source_project_id": from.project_id, "mode": "restorable",
    } });
    let _: Value = to.admin.post("/antipode/v1/grants", &body).await?;
    Ok(())
}

/// Waits until `from` knows the grant that `to` made to it: until a call that is about nothing is not refused.
async fn await_grants(from: &Region, to: &Region) -> Result<(), Failure> {
    const NAME: &str = "does-the-grant-reach";
    let known: Value = from.member.get(&format!("/v1/{{project}}/policies?name={NAME}")).await?;
    let policy_id = match known["policies"][0]["id"].as_str() {
        Some(id) => id.to_owned(),
        None => from.member.create_policy(NAME, &[]).await?,
    };
    let look = async || match from.member.replicate_policy(&policy_id, &to.as_destination()).await {
        Ok(_) => Ok(Ok(())),
        Err(refused) if refused.status() == Some(400) => Ok(Err(refused.to_string())),
        Err(other) => Err(other.into()),
    };
    await_until(&format!("the grant from {} to {}", to.name, from.name), GRANTS_SECONDS, look).await?;
    from.member.delete(&format!("/v1/{{project}}/policies/{policy_id}")).await?;
    Ok(())
}
