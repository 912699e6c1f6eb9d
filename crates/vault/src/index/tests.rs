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

/// Packs that overlap as a seed has it, in the order of the ledger.
fn overlapping(seed: u32) -> Vec<IndexedPack> {
    let begin = |number: u32| (number * 37 + seed * 13) % 90;
    (0..30).map(|number| pack(u64::from(number) + 1, begin(number)..begin(number) + 20)).collect()
}

/// Everything that can be asked of an index about `overlapping` packs.
#[derive(Debug, PartialEq, Eq)]
struct Answers {
    places: Vec<Option<Place>>,
    known: Vec<Option<Known>>,
    names: Vec<Option<Arc<str>>>,
    watermark: u64,
}

fn answers(index: &Index) -> Answers {
    let addresses: Vec<Address> = (0..120).map(address).collect();
    let ids: Vec<DedupId> = (0..120).map(id).collect();
    Answers {
        places: index.places(&addresses).unwrap(),
        known: index.known(&ids).unwrap(),
        names: (1..=31).map(|number| index.pack_name(PackNumber(number)).unwrap()).collect(),
        watermark: index.watermark().unwrap(),
    }
}

fn build(index: &Index, packs: &[IndexedPack], condemned: PackNumber) {
    let mut build = index.begin_build().unwrap().unwrap();
    packs.iter().filter(|pack| pack.number != condemned).for_each(|pack| build.add(pack).unwrap());
    build.condemn(condemned);
    build.finish(31).unwrap();
}

#[test]
fn an_index_built_at_one_go_is_the_one_that_grew_pack_by_pack() {
    for seed in 0..4 {
        for is_in_memory in [false, true] {
            let folder = tempfile::tempdir().unwrap();
            // So little memory that sorting spills.
            let settings = IndexSettings { is_in_memory, gather_bytes: 512, ..IndexSettings::default() };
            let make = |name| Index::open(&folder.path().join(name), &IDENTITY, &settings).unwrap();
            let packs = overlapping(seed);
            let (grown, built) = (make("grown"), make("built"));
            build(&built, &packs, PackNumber(4));
            packs.iter().filter(|pack| pack.number.0 != 4).for_each(|pack| grown.add(pack).unwrap());
            grown.condemn(PackNumber(4)).unwrap();
            grown.set_watermark(31).unwrap();
            assert_eq!(answers(&built), answers(&grown), "seed {seed}");
            for number in [30, 12, 29, 28] {
                for index in [&grown, &built] {
                    index.condemn(PackNumber(number)).unwrap();
                }
                // Which older copy is read is free; that one is, is not.
                let found =
                    |index: &Index| answers(index).places.iter().map(Option::is_some).collect::<Vec<_>>();
                assert_eq!(found(&built), found(&grown), "seed {seed}, without {number}");
            }
            if is_in_memory {
                continue;
            }
            let before = answers(&built);
            drop(built);
            assert_eq!(answers(&make("built")), before, "seed {seed}, opened again");
            assert!(!folder.path().join("built.sorting").exists());
        }
    }
}

#[test]
fn a_build_that_died_leaves_nothing_that_is_believed() {
    let folder = tempfile::tempdir().unwrap();
    let index = open(folder.path());
    let row = (address(3).0.to_vec(), rows::encode_place(&Place { pack: PackNumber(1), ..PLACE }));
    index.tables.fill(Table::Objects, &mut [Ok(row)].into_iter()).unwrap();
    assert_eq!(index.place(address(3)).unwrap(), None, "its pack is not there");
    assert!(index.begin_build().unwrap().is_none(), "it holds something: pack by pack, then");
    drop(index);
    let index = open(folder.path());
    assert!(index.begin_build().unwrap().is_some(), "it is empty again");
}

const PLACE: Place = Place { pack: PackNumber(0), offset: 300, stored_len: 100, kind: Kind::Chunk };

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
