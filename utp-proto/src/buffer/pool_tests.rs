use super::*;

impl<const LIMIT: usize> Pool<LIMIT> {
    /// Bytes and number of the spare blocks, which agree with all else that is noted.
    fn holds(&self) -> (usize, usize) {
        let all = || self.classes.iter().flat_map(|class| &class.spare);
        assert_eq!(self.bytes, all().map(Vec::capacity).sum());
        for (number, class) in self.classes.iter().enumerate() {
            assert_eq!(self.filled >> number & 1 == 1, !class.spare.is_empty());
            assert!(class.spare.iter().all(|block| block.is_empty() && class_of(block.capacity()) == number));
        }
        (self.bytes, all().count())
    }
}

#[test]
fn classes_are_of_rising_sizes_and_a_fourth_apart() {
    let sizes = [0, 1, LEAST - 1, LEAST, LEAST + 511, LEAST + 512, 2 * LEAST - 1, 2 * LEAST];
    assert_eq!(sizes.map(class_of), [0, 0, 0, 0, 0, 1, 3, 4]);
    assert_eq!([52_428, 8 << 20].map(class_of), [18, CLASSES - 1]);
    let sizes = (LEAST..if cfg!(miri) { 5_000 } else { 100_000 }).map(class_of);
    assert!(sizes.clone().zip(sizes.skip(1)).all(|(a, b)| b == a || b == a + 1));
    assert!(class_of(usize::MAX) >= CLASSES);
}

#[test]
fn blocks_come_back_and_the_limit_holds() {
    let mut pool = Pool::<10_000>::default();
    let mut block = pool.take(4000);
    block.extend_from_slice(&[1; 100]);
    let at = block.as_ptr();
    pool.give(block);
    let again = pool.take(3900);
    assert_eq!((again.as_ptr(), again.len()), (at, 0));
    pool.give(again);
    pool.give(Vec::with_capacity(10_001));
    pool.give(Vec::with_capacity(LEAST - 1));
    assert_eq!(pool.holds(), (4000, 1), "more or less than it ever keeps");
    pool.give(Vec::with_capacity(4000));
    pool.give(Vec::with_capacity(4000));
    assert_eq!(pool.holds(), (8000, 2), "no others have to go");
}

#[test]
fn a_block_is_as_large_as_asked_for_and_not_much_larger() {
    let mut pool = Pool::<{ 1 << 20 }>::default();
    for capacity in [3000, 5000, 9000, 60_000] {
        pool.give(Vec::with_capacity(capacity));
    }
    assert_eq!(pool.take(4000).capacity(), 4000, "of another class than 5000");
    assert_eq!(pool.take(300).capacity(), 300);
    assert_eq!(pool.take_up_to(6000, 8999).capacity(), 6000);
    assert_eq!(pool.take_up_to(9001, 59_999).capacity(), 9001);
    pool.give(Vec::with_capacity(9001));
    assert_eq!(pool.holds(), (68_001 + 9000, 4), "9000 is of the same class and did not fit: it goes");
    assert_eq!(pool.take_up_to(9000, 9000).capacity(), 9000);
    pool.give(Vec::with_capacity(9000));
    assert_eq!(pool.holds(), (68_001 + 9000, 4), "the larger one stays");
    assert_eq!(pool.take_up_to(9001, 9001).capacity(), 9001);
    assert_eq!(pool.take_up_to(1000, 60_000).capacity(), 60_000, "the largest of those that fit");
    assert_eq!(pool.take(5000).capacity(), 5000);
    assert_eq!(pool.take_up_to(1000, usize::MAX).capacity(), 3000);
    assert_eq!((pool.holds(), pool.filled), ((0, 0), 0));
    assert_eq!(pool.take_up_to(2048, 2048).capacity(), 2048);
    pool.give(Vec::with_capacity(2048));
    pool.give(Vec::with_capacity(2560));
    assert_eq!(pool.take_up_to(2000, 2600).capacity(), 2560, "of the second class of all");
    assert_eq!(pool.take_up_to(2000, 2100).capacity(), 2048, "of the first");
    assert_eq!(pool.take((8 << 20) + 1).capacity(), (8 << 20) + 1);
    assert_eq!(pool.take(100 << 20).capacity(), 100 << 20);
}

#[test]
fn a_block_too_many_goes_once_and_is_not_the_one_that_was_used_last() {
    let mut pool = Pool::<{ 1 << 20 }>::default();
    pool.give(Vec::with_capacity(9000));
    assert_eq!(pool.take(9001).capacity(), 9001, "one too many now");
    let block = Vec::with_capacity(9000);
    let at = block.as_ptr();
    pool.give(block);
    assert_eq!(pool.holds(), (9000, 1));
    pool.give(Vec::with_capacity(9000));
    pool.give(Vec::with_capacity(9000));
    assert_eq!(pool.holds(), (27_000, 3), "no more than one was");
    let taken = [9000; 3].map(|capacity| pool.take(capacity));
    assert_eq!(taken[2].as_ptr(), at, "of two that are as large the one that came last stays");
}

#[test]
fn a_block_that_is_too_small_to_be_kept_is_not_one_too_many() {
    let mut pool = Pool::<{ 1 << 20 }>::default();
    pool.give(Vec::with_capacity(2500));
    assert_eq!(pool.take_up_to(LEAST - 1, LEAST - 1).capacity(), LEAST - 1);
    pool.give(Vec::with_capacity(2500));
    assert_eq!(pool.holds(), (5000, 2));
    assert_eq!(pool.take_up_to(LEAST, LEAST).capacity(), LEAST);
    pool.give(Vec::with_capacity(2500));
    assert_eq!(pool.holds(), (5000, 2), "the least that is kept is one");
}

#[test]
fn no_more_goes_than_there_has_to_be_room_for() {
    let mut pool = Pool::<10_000>::default();
    for _ in 0..4 {
        pool.give(Vec::with_capacity(2500));
    }
    assert_eq!(pool.holds(), (10_000, 4), "all of the limit is used");
    pool.give(Vec::with_capacity(5000));
    assert_eq!(pool.holds(), (10_000, 3));
}

#[test]
fn small_blocks_make_room_for_the_large_one_that_is_used_now() {
    let mut pool = Pool::<100_000>::default();
    pool.give(Vec::with_capacity(10_000));
    for _ in 0..45 {
        pool.give(Vec::with_capacity(2048));
    }
    assert_eq!(pool.holds(), (45 * 2048, 45));
    drop(pool.take(2048));
    let block = Vec::with_capacity(80_000);
    let at = block.as_ptr();
    pool.give(block);
    assert_eq!(pool.holds(), (80_000 + 9 * 2048, 10));
    let again = pool.take(80_000);
    assert_eq!(again.as_ptr(), at);
}

#[test]
fn what_was_not_used_for_longest_goes_first() {
    let mut pool = Pool::<20_000>::default();
    for capacity in [2100, 4000, 6000, 7900] {
        pool.give(Vec::with_capacity(capacity));
    }
    let block = pool.take(2100);
    pool.give(block);
    pool.give(Vec::with_capacity(3000));
    assert_eq!(pool.holds(), (2100 + 6000 + 7900 + 3000, 4));
    pool.give(Vec::with_capacity(20_000));
    assert_eq!(pool.holds(), (20_000, 1));
    assert_eq!(pool.lists(), pool.classes[class_of(20_000)].spare.capacity() * size_of::<Vec<u8>>());
}

#[test]
fn what_came_back_first_is_what_was_not_used_for_longest() {
    let mut pool = Pool::<20_000>::default();
    for capacity in [7900, 6000, 4000, 2100] {
        pool.give(Vec::with_capacity(capacity));
    }
    pool.give(Vec::with_capacity(3000));
    assert_eq!(pool.holds(), (6000 + 4000 + 2100 + 3000, 4));
}

#[test]
fn a_block_that_is_taken_is_a_use_of_its_class() {
    let mut pool = Pool::<10_000>::default();
    for capacity in [2100, 2100, 4000] {
        pool.give(Vec::with_capacity(capacity));
    }
    drop(pool.take(2100));
    pool.give(Vec::with_capacity(6000));
    assert_eq!(pool.holds(), (2100 + 6000, 2));
}

/// As transfers do that go on at the same time: blocks of growing sizes, and some of odd ones, given back in any order.
#[test]
fn who_needs_the_same_again_and_again_leaves_no_more_blocks_each_time() {
    let mut pool = Pool::<{ 256 << 20 }>::default();
    let mut random = 7usize;
    let mut left = Vec::new();
    for _ in 0..if cfg!(miri) { 20 } else { 100 } {
        let mut taken = Vec::new();
        for n in 0..20 {
            taken.push(pool.take(32_768));
            for size in [4096, 8192, 16_384, 32_768, 52_428] {
                taken.push(pool.take_up_to(size, 52_428));
            }
            taken.push(pool.take_up_to(50_000 + 100 * n, 50_000 + 100 * n));
        }
        while !taken.is_empty() {
            random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223) & 0xffff_ffff;
            pool.give(taken.swap_remove((random >> 8) % taken.len()));
        }
        left.push(pool.holds().1);
    }
    // Large ones are taken in place of small ones, which stay: there may be twice as many as are in use.
    assert!(left.iter().all(|&blocks| blocks <= 2 * 7 * 20), "{left:?}");
}

#[test]
fn lists_are_kept_up_to_a_number_and_a_size_and_all_is_counted() {
    let mut pools = Pools::default();
    assert_eq!((pools.take_pieces(100).capacity(), pools.spare()), (0, 0));
    pools.give_pieces(Pieces::new());
    pools.give_pieces(Pieces::with_capacity(SPARE_PIECES + 1));
    assert!(pools.pieces.is_empty());
    for n in 1..=SPARE_LISTS + 1 {
        pools.give_pieces(Pieces::with_capacity(16));
        assert_eq!(pools.pieces.len(), n.min(SPARE_LISTS));
    }
    pools.blocks.give(Vec::with_capacity(2_100));
    let lists = SPARE_LISTS * 16 * size_of::<Piece>();
    let of_lists = pools.pieces.capacity() * size_of::<Pieces>();
    let of_blocks = pools.blocks.classes[0].spare.capacity() * size_of::<Vec<u8>>();
    assert!(of_blocks > 0);
    assert_eq!(pools.spare(), 2_100 + lists + of_lists + of_blocks);
    assert_eq!(pools.take_pieces(15).capacity(), 0, "none so short");
    assert_eq!((pools.take_pieces(16).capacity(), pools.pieces.len()), (16, SPARE_LISTS - 1));
}
