//! Large files: the sums of their blocks, and files that
//! are built from blocks of old ones and from sent bytes.

use o3r_deploy::internal::{
    blocks::{BlockSums, batch},
    digest::Digest,
    remote::{self, State},
};

use super::*;

/// Returns a file of this length in which all blocks differ.
fn long(bytes: usize) -> Vec<u8> {
    let lines = (0_u32..).flat_map(|number| format!("{number:07}\n").into_bytes());
    lines.take(bytes).collect()
}

/// Sizes around the edges of a block and of a batch of sums.
fn sizes() -> impl Strategy<Value = (u64, usize)> {
    let block = prop::sample::select(vec![8 << 10, 256 << 10]);
    let edge = |block: u64| {
        let batch = batch(block) * block;
        let near = vec![0, block, 3 * block, batch, batch + block];
        (Just(block), prop::sample::select(near))
    };
    let sizes = block.prop_flat_map(edge);
    (sizes, 0..3_usize).prop_map(|((block, near), more)| {
        let near = usize::try_from(near).unwrap();
        (block, (near + more).saturating_sub(1))
    })
}

/// A sandbox and the same state in memory, with the tools that sum blocks.
fn both(kind: (&[&str], Tools)) -> Both {
    let both = Both::new(kind, &Tree::new());
    // Some builds of busybox lack these.
    for program in ["split", "cksum"] {
        both.sandbox.link(program, &needed(program));
    }
    both
}

proptest! {
    #![proptest_config(config(4))]

    #[test]
    fn sums_of_blocks_are_the_same((block, size) in sizes()) {
        let bytes = long(size);
        run(async {
            for kind in o3r_testing::variants(KINDS, 1) {
                let both = both(kind);
                for name in ["it's large", "nothing", "directory"] {
                    let path = both.at(name);
                    match name {
                        "it's large" => {
                            fs::write(&path, &bytes).unwrap();
                            both.vpu.world(|world| world.write(&path, &bytes, 0o644));
                        }
                        "directory" => {
                            plant(Path::new(&path), &Node::Directory(0o755));
                            both.vpu.world(|world| world.make_directory(&path));
                        }
                        _ => {}
                    }
                    let command = remote::block_sums(&path, block);
                    let real = both.sandbox.run(&command, b"").await;
                    let memory = both.vpu.run(&command, Stdin::Empty).await.unwrap();
                    prop_assert_eq!(real.code, memory.code, "{}: {:?}", name, real);
                    let said = |output: &Output| String::from_utf8_lossy(&output.stdout).into_owned();
                    prop_assert!(said(&real) == said(&memory), "{name}: {} and {}", said(&real), said(&memory));
                    if real.success() {
                        let sums = BlockSums::parse(&said(&real), block, size as u64);
                        prop_assert_eq!(sums, Some(BlockSums::of(&bytes, block)));
                    }
                }
                both.same("sums of blocks")?;
            }
            Ok(())
        })?;
    }
}

/// Bytes of a block of the old version.
const BLOCK: usize = 16;

/// A line of a recipe.
#[derive(Debug, Clone)]
enum Line {
    /// Sent bytes.
    Bytes(&'static str),
    /// The first block and the number of blocks.
    Blocks(usize, usize),
}

fn lines() -> impl Strategy<Value = Vec<Line>> {
    let line = prop_oneof![
        prop::sample::select(vec!["new", "some\nmore\n", "\0'"]).prop_map(Line::Bytes),
        // The old version, if it exists, has three and a half blocks.
        (0..5_usize, 1..4_usize).prop_map(|(first, count)| Line::Blocks(first, count)),
    ];
    prop::collection::vec(line, 0..5)
}

/// Returns what the recipe writes if the old version exists.
fn written(lines: &[Line], old: &[u8]) -> Vec<u8> {
    let one = |line: &Line| match line {
        Line::Bytes(bytes) => bytes.as_bytes().to_vec(),
        Line::Blocks(first, count) => {
            let old = old.iter().skip(first * BLOCK);
            old.take(count * BLOCK).copied().collect()
        }
    };
    lines.iter().flat_map(one).collect()
}

/// Returns the payload: a compressed tar of the new bytes and of the recipe.
fn sent(lines: &[Line]) -> Vec<u8> {
    let (mut bytes, mut recipe) = (String::new(), String::new());
    for line in lines {
        let line = match line {
            Line::Bytes(some) => {
                bytes.push_str(some);
                format!("l {}\n", some.len())
            }
            Line::Blocks(first, count) => format!("c {first} {count}\n"),
        };
        recipe.push_str(&line);
    }
    let gzip = flate2::write::GzEncoder::new(vec![], flate2::Compression::fast());
    let mut tar = tar::Builder::new(gzip);
    for (name, text) in [("bytes", bytes), ("recipe", recipe)] {
        let mut header = tar::Header::new_ustar();
        header.set_size(text.len() as u64);
        header.set_mode(0o600);
        tar.append_data(&mut header, name, text.as_bytes()).unwrap();
    }
    tar.into_inner().unwrap().finish().unwrap()
}

/// What arrives, and what was there before.
#[derive(Debug, Clone)]
struct Patch {
    lines: Vec<Line>,
    mode: u32,
    /// Half of the payload is lost.
    cut: bool,
    /// It was planned for another old version.
    other: bool,
}

fn patches() -> impl Strategy<Value = Patch> {
    let cut = prop::bool::weighted(0.15);
    let other = prop::bool::weighted(0.15);
    (lines(), mode(), cut, other).prop_map(|(lines, mode, cut, other)| Patch {
        lines,
        mode,
        cut,
        other,
    })
}

proptest! {
    #![proptest_config(config(10))]

    #[test]
    fn built_files_are_the_same(
        there in tree(&[".o3r-deploy/staging/new/0/a", ".o3r-deploy/staging/patch/old"]),
        is_old in prop::bool::weighted(0.85),
        staging in prop::bool::weighted(0.85),
        patches in prop::collection::vec(patches(), 1..4),
    ) {
        let old = long(3 * BLOCK + BLOCK / 2);
        let mut there = there;
        if is_old {
            let text = String::from_utf8(old.clone()).unwrap();
            there.insert("data/old".to_owned(), Node::File(0o640, text));
        }
        run(async {
            for kind in o3r_testing::variants(KINDS, 1) {
                let both = Both::new(kind, &there);
                let state = State { home: &both.home };
                // A file that is built outside of the staging directory does not find it.
                let new = if staging { ".o3r-deploy/staging/new/0/sub/it's a" } else { "data/new" };
                for patch in &patches {
                    let wanted = written(&patch.lines, if patch.other { b"another" } else { &old });
                    let paths = (both.at(new), both.at("data/old"));
                    let command = remote::patch_file(
                        &state.staging(),
                        (&paths.0, &paths.1),
                        Digest::of(&wanted),
                        patch.mode,
                        BLOCK as u64,
                    );
                    let mut stdin = sent(&patch.lines);
                    if patch.cut {
                        stdin.truncate(stdin.len() / 2);
                    }
                    // tar's message about a truncated archive differs between versions.
                    both.attempt(&command, &stdin).await?;
                }
            }
            Ok(())
        })?;
    }
}
