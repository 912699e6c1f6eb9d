//! `[identity]`: a Keystone elsewhere in the place of the embedded identity service.

use std::collections::BTreeMap;
use std::path::PathBuf;

use model::identity::Role;
use serde::Deserialize;

/// `[identity]`
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Identity {
    /// The Keystone that says who callers are, such as `https://keystone.example.com:5000/v3`. When left out,
    /// the embedded identity service does.
    pub keystone_url: Option<String>,
    /// Certificates that alone are believed, in PEM; those of the system when left out.
    pub ca_file: Option<PathBuf>,
    /// The user that validates tokens there: it needs the role `service` or `admin`.
    pub user: String,
    /// The user's domain, by name.
    pub user_domain: String,
    /// A private file whose first line is the user's password. Needed with a URL.
    pub password_file: Option<PathBuf>,
    /// The user's project.
    pub project: String,
    /// The project's domain, by name.
    pub project_domain: String,
    /// How long Keystone may take to answer.
    pub timeout_seconds: u64,
    /// For each of our roles, the names of those there that give it.
    pub roles: Roles,
}

impl Default for Identity {
    fn default() -> Identity {
        Identity {
            keystone_url: None,
            ca_file: None,
            user: "antipode".to_owned(),
            user_domain: "Default".to_owned(),
            password_file: None,
            project: "service".to_owned(),
            project_domain: "Default".to_owned(),
            timeout_seconds: 4,
            roles: Roles::default(),
        }
    }
}

/// `[identity.roles]`
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Roles {
    /// Who may read.
    pub reader: Vec<String>,
    /// Who may order backups, replications and restores.
    pub member: Vec<String>,
    /// Who may do everything in a project.
    pub admin: Vec<String>,
    /// Who may read in every project.
    pub service: Vec<String>,
    /// Who may run the region. Nobody, unless it is said.
    pub operator: Vec<String>,
}

impl Default for Roles {
    fn default() -> Roles {
        let named = |name: &str| vec![name.to_owned()];
        Roles {
            reader: named("reader"),
            member: named("member"),
            admin: named("admin"),
            service: Vec::new(),
            operator: Vec::new(),
        }
    }
}

impl Roles {
    /// Our roles by the names of those there.
    pub fn by_name(&self) -> BTreeMap<String, Vec<Role>> {
        let lists = [
            (Role::Reader, &self.reader),
            (Role::Member, &self.member),
            (Role::Admin, &self.admin),
            (Role::Service, &self.service),
            (Role::Operator, &self.operator),
        ];
        let mut by_name: BTreeMap<String, Vec<Role>> = BTreeMap::new();
        for (role, names) in lists {
            for name in names {
                by_name.entry(name.clone()).or_default().push(role);
            }
        }
        by_name
    }
}

impl Identity {
    /// The paths in it, which count from the folder of the file.
    pub(super) fn paths(&mut self) -> impl Iterator<Item = &mut PathBuf> {
        self.ca_file.iter_mut().chain(self.password_file.iter_mut())
    }

    pub(super) fn check(&self) -> Result<(), String> {
        let Some(url) = &self.keystone_url else { return Ok(()) };
        if !super::is_base_url(url) {
            return Err(
                "identity.keystone_url must be http:// or https://, a host, and no trailing slash".into()
            );
        }
        if self.password_file.is_none() {
            return Err("identity.keystone_url needs identity.password_file".to_owned());
        }
        match self.timeout_seconds {
            1..=30 => Ok(()),
            _ => Err("identity.timeout_seconds must be 1 to 30".to_owned()),
        }
    }
}
