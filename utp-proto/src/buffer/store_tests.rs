use super::*;

const BLOCK: usize = 1_000;

/// Blocks of one size, this many of them full.
fn full(blocks: usize) -> (Pools, Store, Pos) {
    let (mut pools, mut store) = (Pools::default(), Store::default());
    let mut first = Pos::NOWHERE;
    for i in 0..blocks {
        let pos = store.append(&mut pools, &[i as u8; BLOCK], Kind::Ahead, (BLOCK, BLOCK));
        first = if i == 0 { pos } else { first };
    }
    (pools, store, first)
}

#[test]
fn the_list_of_blocks_is_memory_too_and_grows_in_few_steps() {
    for (blocks, list) in [(1, 5), (5, 5), (6, 16), (16, 16), (17, 32), (33, MAX_BLOCKS), (100, MAX_BLOCKS)] {
        let (_, store, _) = full(blocks);
        assert_eq!((store.capacity(), store.filled()), (blocks * BLOCK, blocks * BLOCK));
        assert_eq!(store.memory() - store.capacity(), list * size_of::<Block>(), "{blocks}");
        assert_eq!(store.entry_cost(list - blocks), Some(0), "there are so many free entries");
    }
}

#[test]
fn there_are_no_more_blocks_than_a_position_has_numbers_for() {
    let (_, store, _) = full(2);
    assert_eq!(store.entry_cost(MAX_BLOCKS - 2), Some(MAX_BLOCKS * size_of::<Block>()));
    assert_eq!(store.entry_cost(MAX_BLOCKS - 1), None);
    let last = Pos::new(MAX_BLOCKS - 1, (1 << OFFSET_BITS) - 1);
    assert_eq!((last.block(), last.at()), (MAX_BLOCKS - 1, (1 << OFFSET_BITS) - 1));
    assert!(Pos::NOWHERE.block() >= MAX_BLOCKS);
}

#[test]
fn a_block_goes_when_nothing_in_it_is_needed() {
    let (mut pools, mut store, first) = full(4);
    let next = store.release(&mut pools, first, BLOCK - 1);
    assert_eq!((store.capacity(), store.filled(), store.live()), (4 * BLOCK, 4 * BLOCK, 3 * BLOCK + 1));
    let next = store.release(&mut pools, next, 1);
    assert_eq!((store.capacity(), store.filled(), store.live()), (3 * BLOCK, 3 * BLOCK, 3 * BLOCK));
    let next = store.release(&mut pools, next, BLOCK + 10);
    assert_eq!((store.capacity(), store.filled(), store.live()), (2 * BLOCK, 2 * BLOCK, 2 * BLOCK - 10));
    assert_eq!(store.slice(next, 5), [2; 5]);
}

#[test]
fn blocks_are_a_twentieth_of_the_capacity_but_not_less_than_4_kib_nor_more_than_16_mib() {
    let kib = 1 << 10;
    for (capacity, size) in [
        (4 * kib, 2 * kib), // half of it
        (8 * kib, 4 * kib),
        (80 * kib, 4 * kib),
        (100 * kib, 5 * kib),
        (320 << 20, 16 << 20),
        (1 << 30, 16 << 20),
    ] {
        assert_eq!(block_size(capacity), size, "{capacity}");
    }
}
