use super::*;

const IDENTITY: IndexIdentity =
    IndexIdentity { vault: VaultId([1; 16]), domain: DomainId([2; 16]), incarnation: Incarnation([3; 16]) };

fn open(folder: &Path) -> Index {
    Index::open(folder, &IDENTITY, &IndexSettings::default()).unwrap()
}

fn address(number: u32) -> Address {
    Address(*blake3::hash(&number.to_le_bytes()).as_bytes())
}

fn id(number: u32) -> DedupId {
    DedupId(*blake3::hash(&(number + 1_000_000).to_le_bytes()).as_bytes())
}

fn pack(number: u64, objects: std::ops::Range<u32>) -> IndexedPack {
    let object = |index: u32| IndexedObject {
        address: address(index),
        kind: Kind::Chunk,
        offset: u64::from(index) * 100,
        stored_len: 100,
        id: Some(id(index)),
    };
    let name = format!("packs/{number}");
    IndexedPack { number: PackNumber(number), name, epoch: Epoch(1), objects: objects.map(object).collect() }
}

#[test]
fn an_index_of_another_identity_or_a_damaged_one_is_emptied() {
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().join("index");
    let index = open(&place);
    index.add(&pack(1, 0..10)).unwrap();
    index.set_watermark(7).unwrap();
    drop(index);
    let index = open(&place);
    assert_eq!((index.watermark().unwrap(), index.place(address(3)).unwrap().is_some()), (7, true));
    drop(index);
    let other = IndexIdentity { incarnation: Incarnation([4; 16]), ..IDENTITY };
    let index = Index::open(&place, &other, &IndexSettings::default()).unwrap();
    assert_eq!((index.watermark().unwrap(), index.place(address(3)).unwrap()), (0, None));
    index.set_watermark(9).unwrap();
    drop(index);
    damage(&place);
    let index = Index::open(&place, &other, &IndexSettings::default()).unwrap();
    assert_eq!(index.watermark().unwrap(), 0);
}

fn damage(folder: &Path) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() {
            fs::write(path, b"not what was here").unwrap();
        } else {
            damage(&path);
        }
    }
}

#[test]
fn an_index_in_use_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let index = open(folder.path());
    let second = Index::open(folder.path(), &IDENTITY, &IndexSettings::default());
    assert!(matches!(second, Err(VaultError::Index { .. })));
    index.add(&pack(1, 0..1)).unwrap();
}

#[test]
fn what_was_added_is_found_and_the_rest_is_not() {
    let folder = tempfile::tempdir().unwrap();
    check_found(&open(&folder.path().join("on disk")));
    let settings = IndexSettings { is_in_memory: true, ..IndexSettings::default() };
    check_found(&Index::open(&folder.path().join("in memory"), &IDENTITY, &settings).unwrap());
    assert!(!folder.path().join("in memory").exists());
}

fn check_found(index: &Index) {
    index.add(&pack(1, 0..1000)).unwrap();
    index.add(&pack(1, 0..1000)).unwrap();
    let places = index.places(&[address(5), address(2000), address(999)]).unwrap();
    let place = |offset| Some(Place { pack: PackNumber(1), offset, stored_len: 100, kind: Kind::Chunk });
    assert_eq!(places, [place(500), None, place(99_900)]);
    let known = index.known(&[id(5), id(2000)]).unwrap();
    let expected = Known { address: address(5), pack: PackNumber(1), stored_len: 100, epoch: Epoch(1) };
    assert_eq!(known, [Some(expected), None]);
    assert_eq!(index.pack_name(PackNumber(1)).unwrap().as_deref(), Some("packs/1"));
    assert_eq!(index.pack_name(PackNumber(2)).unwrap(), None);
}

#[test]
fn a_condemned_pack_hides_its_objects_but_not_their_copies_elsewhere() {
    let folder = tempfile::tempdir().unwrap();
    let index = open(folder.path());
    index.add(&pack(1, 0..10)).unwrap();
    index.add(&pack(2, 5..15)).unwrap();
    index.condemn(PackNumber(1)).unwrap();
    let check = |index: &Index| {
        assert_eq!(index.place(address(3)).unwrap(), None);
        assert_eq!(index.known(&[id(3)]).unwrap(), [None]);
        assert_eq!(index.place(address(7)).unwrap().unwrap().pack, PackNumber(2));
        assert_eq!(index.known(&[id(7)]).unwrap()[0].unwrap().pack, PackNumber(2));
        assert_eq!(index.pack_name(PackNumber(1)).unwrap(), None);
        assert!(index.has_pack(PackNumber(1)).unwrap());
    };
    check(&index);
    drop(index);
    let index = open(folder.path());
    check(&index);
    index.add(&pack(3, 0..10)).unwrap();
    assert_eq!(index.place(address(3)).unwrap().unwrap().pack, PackNumber(3));
    assert_eq!(index.known(&[id(3)]).unwrap()[0].unwrap().pack, PackNumber(3));
}

#[test]
fn of_two_copies_the_newest_is_read_whichever_came_first() {
    let folder = tempfile::tempdir().unwrap();
    let index = open(folder.path());
    for number in [2, 3, 1] {
        index.add(&pack(number, 0..10)).unwrap();
    }
    let pack_of = || index.place(address(7)).unwrap().map(|place| place.pack.0);
    assert_eq!(pack_of(), Some(3));
    index.condemn(PackNumber(3)).unwrap();
    assert!(matches!(pack_of(), Some(1 | 2)));
    index.condemn(PackNumber(2)).unwrap();
    assert_eq!(pack_of(), Some(1));
    index.condemn(PackNumber(1)).unwrap();
    assert_eq!(pack_of(), None);
}

#[test]
fn the_live_set_holds_numbers_far_apart() {
    let mut live = LiveSet::default();
    for number in [0, 63, 64, 1 << 40, u64::MAX] {
        live.set(PackNumber(number), true);
    }
    live.set(PackNumber(63), false);
    let found: Vec<bool> =
        [0, 1, 63, 64, 1 << 40, u64::MAX].iter().map(|&number| live.contains(PackNumber(number))).collect();
    assert_eq!(found, [true, false, false, true, true, true]);
}
