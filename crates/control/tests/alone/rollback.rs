//! A catalog that was put back from an older copy: the store knows better, and writing stops before anything
//! is named twice. What the old catalog knows is still read and restored.

use catalog::JobKind;
use control::restores::RestoreOrder;
use control::{Kind, Reason};
use model::checkpoint::CheckpointItem;
use model::restore::RestoreVolume;
use model::server::Server;

use crate::region::{Region, Running};

/// A region that was stopped after its first backup, with the disk as it was then.
struct BackedUp {
    region: Region,
    server: Server,
    first: CheckpointItem,
    disk: Vec<u8>,
    catalog: Vec<u8>,
}

async fn backed_up() -> BackedUp {
    let region = Region::new();
    let disk = region.write_disk(1);
    let running = region.start().await;
    let server = running.register(&region).await;
    running.control.keep_house().await.unwrap();
    let first = running.back_up(&server).await.unwrap();
    running.stop().await;
    let catalog = region.copy_catalog();
    BackedUp { region, server, first, disk, catalog }
}

async fn must_be_blocked(running: &Running, server: &Server) {
    let reason = running.blocked().await.expect("writing is blocked");
    assert!(reason.contains("rolled back") && reason.contains("antipode rebuild"), "{reason}");
    let refused = running.back_up(server).await.unwrap_err();
    assert_eq!((refused.kind, &refused.reason), (Kind::Unavailable, &Reason::WritesBlocked));
    assert!(refused.message.contains("antipode rebuild"), "the next step is named: {refused}");
}

#[tokio::test]
async fn a_pack_that_the_catalog_never_numbered_blocks_writing_and_spares_restores() {
    let BackedUp { region, server, first, disk, catalog } = backed_up().await;
    region.write_disk(2);
    let running = region.start().await;
    assert_eq!(running.blocked().await, None, "a restart is no rollback");
    running.back_up(&server).await.unwrap();
    running.stop().await;

    region.roll_back(&catalog);
    let running = region.start().await;
    let reason = running.blocked().await.unwrap();
    assert!(reason.contains(".pack"), "{reason}");
    must_be_blocked(&running, &server).await;
    let order = RestoreOrder {
        checkpoint_id: first.checkpoint_id,
        item_id: first.id,
        target_server_id: server.id.clone(),
        volumes: vec![RestoreVolume {
            backup_id: first.volumes[0].id,
            volume_id: server.volumes[0].id.clone(),
        }],
        power_on: false,
        restore_target: None,
    };
    running.control.restore(&running.caller, order).await.unwrap();
    running.control.work_once(JobKind::Restore).await.unwrap();
    assert!(std::fs::read(region.disks().join("root.img")).unwrap() == disk, "the first backup is back");

    running.stop().await;
    let running = region.start().await;
    must_be_blocked(&running, &server).await;
}

#[tokio::test]
async fn a_vault_that_the_catalog_never_heard_of_blocks_writing() {
    let region = Region::new();
    region.write_disk(1);
    let running = region.start().await;
    let server = running.register(&region).await;
    running.control.keep_house().await.unwrap();
    running.stop().await;
    let catalog = region.copy_catalog();
    let running = region.start().await;
    running.back_up(&server).await.unwrap();
    running.stop().await;

    region.roll_back(&catalog);
    must_be_blocked(&region.start().await, &server).await;
}

#[tokio::test]
async fn a_state_object_that_the_catalog_never_numbered_blocks_writing_and_further_ones() {
    let BackedUp { region, server, catalog, .. } = backed_up().await;
    let running = region.start().await;
    running.control.remove_server(&running.caller, &server.id).await.unwrap();
    running.control.keep_house().await.unwrap();
    running.stop().await;
    let told = region.state_records();

    region.roll_back(&catalog);
    let running = region.start().await;
    let reason = running.blocked().await.unwrap();
    assert!(reason.contains(".state"), "{reason}");
    must_be_blocked(&running, &server).await;
    running.control.remove_server(&running.caller, &server.id).await.unwrap();
    running.control.keep_house().await.unwrap();
    assert_eq!(region.state_records(), told, "nothing is said under a number that may be taken");
}

#[tokio::test]
async fn packs_of_an_earlier_incarnation_are_no_rollback() {
    let BackedUp { region, server, .. } = backed_up().await;
    let running = region.start().await;
    let pack = region.store.objects().into_keys().find(|name| name.ends_with(".pack")).unwrap();
    let (folder, _) = pack.rsplit_once('/').unwrap();
    let other = format!("{folder}/00000000000000ff-00000000.pack");
    vault::store::ObjectStore::put_if_absent(&region.store, &other, b"litter").unwrap();
    running.stop().await;
    let running = region.start().await;
    assert_eq!(running.blocked().await, None);
    region.write_disk(2);
    running.back_up(&server).await.unwrap();
}
