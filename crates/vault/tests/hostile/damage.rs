//! What can happen to stored bytes, and to which.

use std::fmt;
use std::ops::Range;

use vault::codec::Encoder;
use vault::ids::{Kind as ObjectKind, VaultId};
use vault::layout;
use vault::pack::{FooterPlace, PackEntry, ReadFooter, TRAILER_BYTES};
use vault::seams::{Entropy, SeededEntropy};

use crate::Arena;
use crate::medium::{KEY_FILES, Medium, PAPER, RECEIVED};

macro_rules! words {
    ($(#[$docs:meta])* $name:ident { $($variant:ident: $word:literal,)* }) => {
        $(#[$docs])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub(crate) enum $name { $($variant,)* }

        impl $name {
            pub(crate) const ALL: [$name; [$($word),*].len()] = [$($name::$variant),*];
        }

        impl fmt::Display for $name {
            fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.write_str(match self { $($name::$variant => $word,)* })
            }
        }
    };
}

words! {
    /// Types of objects, and the parts of a pack.
    Class {
        Chunk: "chunk",
        Node: "node",
        Clear: "footer, clear",
        Sealed: "footer, sealed",
        Trailer: "trailer",
        Manifest: "manifest",
        Wrap: "wrap",
        Bundle: "key bundle",
        Properties: "properties",
        State: "state object",
        Card: "card",
        Pin: "pin",
        Format: "format",
        KeyFile: "key file",
        Kit: "recovery kit",
        Receipt: "receipt",
        Head: "head",
        Entries: "head entries",
    }
}

words! {
    /// Kinds of damage.
    Kind {
        Flipped: "flipped",
        Overwritten: "overwrit.",
        Zeroed: "zeroed",
        Truncated: "truncated",
        Extended: "extended",
        Misplaced: "misplaced",
        Swapped: "swapped",
        Stale: "stale",
        Foreign: "foreign",
        Lost: "lost",
        Forged: "forged",
    }
}

impl Class {
    fn is_in_pack(self) -> bool {
        matches!(self, Class::Chunk | Class::Node | Class::Clear | Class::Sealed | Class::Trailer)
    }

    /// Whether there is such damage of such objects here.
    fn suffers(self, kind: Kind) -> bool {
        match kind {
            // Packs only: a footer made anew by somebody who knows the format and no key.
            Kind::Forged => self.is_in_pack(),
            // One store has one format file, pin and kit, and every store of a version the same format file.
            Kind::Swapped | Kind::Misplaced if self == Class::Format => false,
            Kind::Foreign if self == Class::Format => false,
            Kind::Swapped | Kind::Stale => !matches!(self, Class::Pin | Class::Kit | Class::Format),
            _ => true,
        }
    }
}

/// A place that can be damaged.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    class: Class,
    name: String,
    range: Range<usize>,
}

/// Everything on a medium that can be damaged.
pub(crate) fn targets(medium: &Medium) -> Vec<Target> {
    let mut targets = Vec::new();
    for name in medium.names() {
        let bytes = medium.bytes(&name).unwrap();
        match class_of(&name) {
            Some(class) => targets.push(Target { class, range: 0..bytes.len(), name }),
            None if name.ends_with(".pack") => targets.extend(parts(&name, &bytes)),
            None => assert!(name.ends_with("older-kek"), "{name} is of no class"),
        }
    }
    targets
}

fn class_of(name: &str) -> Option<Class> {
    let is = |prefix: &str, suffix: &str| name.starts_with(prefix) && name.ends_with(suffix);
    let classes = [
        (name == layout::FORMAT_NAME, Class::Format),
        (is("cards/", ".card"), Class::Card),
        (is("pins/", ".pin"), Class::Pin),
        (is("keys/", ".bundle"), Class::Bundle),
        (is("state/", ".state"), Class::State),
        (is("vaults/", "/properties"), Class::Properties),
        (is("vaults/", ".manifest"), Class::Manifest),
        (is("vaults/", ".wrap"), Class::Wrap),
        (is(KEY_FILES, "/kek"), Class::KeyFile),
        (is(PAPER, "kit"), Class::Kit),
        (is(RECEIVED, ".receipt"), Class::Receipt),
        (is(RECEIVED, ".head"), Class::Head),
        (is(RECEIVED, ".entries"), Class::Entries),
    ];
    classes.into_iter().find(|(is, _)| *is).map(|(_, class)| class)
}

fn parts(name: &str, bytes: &[u8]) -> Vec<Target> {
    let (place, footer) = footer_of(bytes);
    let target = |class, range| Target { class, name: name.to_owned(), range };
    let class = |kind| if kind == ObjectKind::Chunk { Class::Chunk } else { Class::Node };
    let objects = footer.entries.iter();
    let mut parts: Vec<Target> =
        objects.map(|entry| target(class(entry.kind), entry.offset as usize..entry.end() as usize)).collect();
    let start = place.offset as usize;
    let (clear, trailer) = (start + clear_len(&footer), bytes.len() - TRAILER_BYTES);
    parts.push(target(Class::Clear, start..clear));
    if trailer - clear > 1 {
        parts.push(target(Class::Sealed, clear..trailer));
    }
    parts.push(target(Class::Trailer, trailer..bytes.len()));
    parts
}

fn footer_of(pack: &[u8]) -> (FooterPlace, ReadFooter) {
    let place = FooterPlace::parse(&pack[pack.len() - TRAILER_BYTES..], pack.len() as u64).unwrap();
    let footer = place.decode(&pack[place.offset as usize..][..place.length as usize]).unwrap();
    (place, footer)
}

fn clear_len(footer: &ReadFooter) -> usize {
    4 + 45 * footer.entries.len()
}

/// True for what may change without changing its meaning: most of a kit is prose.
pub(crate) fn has_prose(name: &str) -> bool {
    name.starts_with(PAPER)
}

pub(crate) fn is_in_store(name: &str) -> bool {
    ![KEY_FILES, PAPER, RECEIVED].iter().any(|prefix| name.starts_with(prefix))
}

/// True for what a vault reads while it restores.
pub(crate) fn is_of_vault(name: &str, vault: VaultId) -> bool {
    let is_read = name.ends_with(".pack") || name.ends_with(".manifest");
    is_read && name.starts_with(&layout::vault_prefix(vault))
}

/// One damaged store: what lies under which names now.
pub(crate) struct Case {
    pub(crate) seed: u64,
    pub(crate) class: Class,
    pub(crate) kind: Kind,
    pub(crate) changes: Vec<(String, Option<Vec<u8>>)>,
    place: String,
}

impl fmt::Display for Case {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{} {} at {}", self.class, self.kind, self.place)
    }
}

impl Case {
    /// Every lawful pair of class and kind.
    pub(crate) fn pairs() -> Vec<(Class, Kind)> {
        let pairs = Class::ALL.into_iter().flat_map(|class| Kind::ALL.map(|kind| (class, kind)));
        pairs.filter(|(class, kind)| class.suffers(*kind)).collect()
    }

    /// The case of a seed. Pairs take turns; everything else follows from the seed.
    pub(crate) fn new(seed: u64, arena: &Arena) -> Case {
        let pairs = Case::pairs();
        let (class, kind) = pairs[(seed % pairs.len() as u64) as usize];
        let dice = Dice::new(seed);
        for _ in 0..1000 {
            let (target, mut changes) = attempt(arena, class, kind, &dice);
            changes.retain(|(name, bytes)| arena.medium.bytes(name).map(|b| b.to_vec()) != *bytes);
            if !changes.is_empty() {
                let place = format!("{} {:?}", target.name, target.range);
                return Case { seed, class, kind, changes, place };
            }
        }
        panic!("seed {seed}: {class} {kind} changed nothing a thousand times");
    }
}

type Changes = Vec<(String, Option<Vec<u8>>)>;

fn attempt(arena: &Arena, class: Class, kind: Kind, dice: &Dice) -> (Target, Changes) {
    let target: Target = (*dice.pick(&of_class(&arena.targets, class))).clone();
    let bytes = arena.medium.bytes(&target.name).unwrap();
    let changed = |bytes| vec![(target.name.clone(), Some(bytes))];
    let changes = match kind {
        Kind::Lost => vec![(target.name.clone(), None)],
        Kind::Forged => changed(forged(&bytes, arena, dice)),
        Kind::Swapped | Kind::Stale => match other(arena, &target, dice) {
            Some(other) if kind == Kind::Swapped => swapped(arena, &target, &other),
            Some(other) => changed(spliced(&bytes, &target.range, part(&arena.medium, &other))),
            None => changed(arena.medium.bytes(&format!("{KEY_FILES}older-kek")).unwrap().to_vec()),
        },
        Kind::Foreign => {
            let foreign: Target = (*dice.pick(&of_class(&arena.foreign_targets, class))).clone();
            changed(spliced(&bytes, &target.range, part(&arena.foreign, &foreign)))
        }
        _ => changed(altered(&bytes, &target.range, kind, dice)),
    };
    (target, changes)
}

fn of_class(targets: &[Target], class: Class) -> Vec<&Target> {
    targets.iter().filter(|target| target.class == class).collect()
}

/// Another place of the same class; half the time beside it, where an older version would lie.
fn other(arena: &Arena, target: &Target, dice: &Dice) -> Option<Target> {
    let all = of_class(&arena.targets, target.class);
    let is_other = |other: &&&Target| (&other.name, &other.range) != (&target.name, &target.range);
    let others: Vec<&Target> = all.iter().filter(is_other).copied().collect();
    let folder = target.name.rsplit_once('/').map_or("", |(folder, _)| folder);
    let beside: Vec<&Target> =
        others.iter().filter(|other| other.name.starts_with(folder)).copied().collect();
    match (others.is_empty(), beside.is_empty() || dice.below(2) == 0) {
        (true, _) => None,
        (false, true) => Some((*dice.pick(&others)).clone()),
        (false, false) => Some((*dice.pick(&beside)).clone()),
    }
}

fn part(medium: &Medium, target: &Target) -> Vec<u8> {
    medium.bytes(&target.name).unwrap()[target.range.clone()].to_vec()
}

/// `bytes` with another part in the place of one, whatever its length.
fn spliced(bytes: &[u8], range: &Range<usize>, part: Vec<u8>) -> Vec<u8> {
    [&bytes[..range.start], &part, &bytes[range.end..]].concat()
}

fn swapped(arena: &Arena, one: &Target, other: &Target) -> Changes {
    let (first, second) = (part(&arena.medium, one), part(&arena.medium, other));
    let bytes = |target: &Target| arena.medium.bytes(&target.name).unwrap();
    if one.name != other.name {
        return vec![
            (one.name.clone(), Some(spliced(&bytes(one), &one.range, second))),
            (other.name.clone(), Some(spliced(&bytes(other), &other.range, first))),
        ];
    }
    let (low, high) = if one.range.start < other.range.start { (one, other) } else { (other, one) };
    let behind = spliced(&bytes(one), &high.range, part(&arena.medium, low));
    vec![(one.name.clone(), Some(spliced(&behind, &low.range, part(&arena.medium, high))))]
}

fn altered(bytes: &[u8], range: &Range<usize>, kind: Kind, dice: &Dice) -> Vec<u8> {
    let mut changed = bytes.to_vec();
    let at = range.start + dice.below(range.len() as u64) as usize;
    let length = |most: usize| 1 + dice.below((range.end - at).min(most) as u64) as usize;
    match kind {
        Kind::Flipped => changed[at] ^= 1 << dice.below(8),
        Kind::Overwritten => {
            let noise = dice.bytes(length(64));
            changed[at..at + noise.len()].copy_from_slice(&noise);
        }
        Kind::Zeroed => {
            let sector = at / 512 * 512;
            changed[sector.max(range.start)..(sector + 512).min(range.end)].fill(0);
        }
        Kind::Truncated => changed.truncate(at),
        Kind::Extended => {
            let count = 1 + dice.below(4096) as usize;
            let more = match dice.below(3) {
                0 => vec![0; count],
                1 => bytes[..count.min(bytes.len())].to_vec(),
                _ => dice.bytes(count),
            };
            changed.splice(range.end..range.end, more);
        }
        _ => {
            let length = length(512);
            let from = dice.below((bytes.len() - length + 1) as u64) as usize;
            changed.copy_within(from..from + length, at);
        }
    }
    changed
}

/// A pack with a sound footer and trailer around a lie.
fn forged(pack: &[u8], arena: &Arena, dice: &Dice) -> Vec<u8> {
    let (place, footer) = footer_of(pack);
    let mut objects = pack[..place.offset as usize].to_vec();
    let mut entries = footer.entries.clone();
    let sealed = &pack[place.offset as usize + clear_len(&footer)..pack.len() - TRAILER_BYTES];
    let one = dice.below(entries.len() as u64) as usize;
    let two = dice.below(entries.len() as u64) as usize;
    match dice.below(6) {
        0 => drop(entries.remove(one)),
        1 => (entries[one].address, entries[two].address) = (entries[two].address, entries[one].address),
        2 if entries[one].kind == ObjectKind::Chunk => entries[one].kind = ObjectKind::Node,
        2 => entries[one].kind = ObjectKind::Chunk,
        3 => {
            let foreign: Target = (*dice.pick(&of_class(&arena.foreign_targets, Class::Chunk))).clone();
            append(&mut objects, &mut entries, one, &part(&arena.foreign, &foreign));
        }
        4 => {
            let (start, end) = (entries[two].offset as usize, entries[two].end() as usize);
            let copy = objects[start..end].to_vec();
            append(&mut objects, &mut entries, one, &copy);
        }
        _ => {
            entries.truncate(one + 1);
            let less = 1 + dice.below(u64::from(entries[one].stored_len) - 90).min(50) as u32;
            entries[one].stored_len -= less;
        }
    }
    let keeps_sealed = dice.below(2) == 0;
    finish(objects, &entries, if keeps_sealed { sealed } else { &[0] })
}

/// Puts other bytes behind all objects and says that they are those of entry `index`.
fn append(objects: &mut Vec<u8>, entries: &mut Vec<PackEntry>, index: usize, bytes: &[u8]) {
    let mut entry = entries.remove(index);
    (entry.offset, entry.stored_len) = (objects.len() as u64, bytes.len() as u32);
    objects.extend_from_slice(bytes);
    entries.push(entry);
}

fn finish(mut objects: Vec<u8>, entries: &[PackEntry], sealed: &[u8]) -> Vec<u8> {
    let mut footer = Encoder::new();
    footer.list(entries, |footer, entry| {
        footer.u8(entry.kind.number()).u64(entry.offset).u32(entry.stored_len).fixed(&entry.address.0);
    });
    footer.fixed(sealed);
    let (offset, footer) = (objects.len() as u64, footer.finish());
    objects.extend_from_slice(&footer);
    objects.extend_from_slice(&offset.to_le_bytes());
    objects.extend_from_slice(blake3::hash(&footer).as_bytes());
    objects.extend_from_slice(b"APK1");
    objects
}

/// Chance of one case.
struct Dice(SeededEntropy);

impl Dice {
    fn new(seed: u64) -> Dice {
        Dice(SeededEntropy::new(seed))
    }

    fn bytes(&self, count: usize) -> Vec<u8> {
        let mut bytes = vec![0; count];
        self.0.fill(&mut bytes);
        bytes
    }

    /// A number below `end`, which is not zero.
    fn below(&self, end: u64) -> u64 {
        let mut bytes = [0; 8];
        self.0.fill(&mut bytes);
        u64::from_le_bytes(bytes) % end
    }

    fn pick<'t, T>(&self, from: &'t [T]) -> &'t T {
        &from[self.below(from.len() as u64) as usize]
    }
}
