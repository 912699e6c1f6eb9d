//! Servers that the configuration lists: registered at the first start, untouched by later ones.

use control::Kind;
use control::servers::{NewServer, NewVolume};
use model::ids::ProjectId;
use model::server::VolumeFormat;

use crate::region::Region;

fn listed(project_id: &ProjectId, path: &str) -> NewServer {
    let volume = NewVolume {
        id: Some("vol-1".parse().unwrap()),
        name: "root".to_owned(),
        path: path.to_owned(),
        format: VolumeFormat::Raw,
        bootable: true,
    };
    NewServer {
        id: Some("srv-1".parse().unwrap()),
        project_id: project_id.clone(),
        name: "db1".to_owned(),
        volumes: vec![volume],
    }
}

#[tokio::test]
async fn a_listed_server_is_registered_once_and_stays_as_it_is() {
    let region = Region::new();
    region.write_disk(1);
    let running = region.start().await;
    let path = region.disks().join("root.img");
    for name in ["db1", "renamed"] {
        let new = NewServer { name: name.to_owned(), ..listed(&running.project, path.to_str().unwrap()) };
        running.control.ensure_server(new).await.unwrap();
    }
    let servers = running.control.all_servers(&running.caller).await.unwrap();
    let [server] = &servers[..] else { panic!("{servers:?}") };
    assert_eq!((server.id.to_string().as_str(), server.name.as_str()), ("srv-1", "db1"));
    assert_eq!(server.volumes[0].size_bytes, 1 << 20);
}

#[tokio::test]
async fn a_listed_server_that_cannot_be_registered_is_named_with_what_is_wrong() {
    let region = Region::new();
    let running = region.start().await;
    let missing = region.disks().join("missing.img");
    let stranger: ProjectId = "nobody".parse().unwrap();
    let cases = [
        (listed(&running.project, "/etc/hostname"), "server srv-1: volumes[0].path: "),
        (listed(&running.project, missing.to_str().unwrap()), "server srv-1: volumes[0].path: "),
        (listed(&stranger, missing.to_str().unwrap()), "server srv-1: project_id: "),
    ];
    for (new, expected) in cases {
        let refused = running.control.ensure_server(new).await.unwrap_err();
        assert_eq!(refused.kind, Kind::Invalid);
        assert!(refused.message.starts_with(expected), "{refused}");
    }
    assert_eq!(running.control.all_servers(&running.caller).await.unwrap(), []);
}
