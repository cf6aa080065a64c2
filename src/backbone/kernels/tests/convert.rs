use super::super::convert::Convert;
use super::*;

proptest! {
    #![proptest_config(cases(48))]

    #[test]
    fn maps_of_f32_become_what_later_layers_store(case in case()) {
        let mut random = random(case.seed);
        let maps = Image::of([case.cin, case.height, case.width], |_| f64::from(random() as f32));
        for (name, isa) in instruction_sets() {
            let from = Grid::new(isa.of_f32(), maps.shape, case.k);
            let to = Grid::new(isa, maps.shape, case.spare_border);
            let mut output = Block::zeroed(to.bytes());
            Convert::new(from, to).run(isa, &pack(isa.of_f32(), from, &maps), &mut output);
            assert!(*pack(isa, to, &maps) == *output, "{name}, {case:?}");
        }
    }
}
