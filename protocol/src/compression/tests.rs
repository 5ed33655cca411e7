//! Every form that real clients write, and what none of them may do to us.

use super::*;
use proptest::prelude::*;

fn unpack(codec: Compression, src: &[u8], max_out: usize) -> Result<Vec<u8>, CompressionError> {
    let mut out = b"leftover".to_vec();
    decompress(codec, src, max_out, &mut out).map(|()| out)
}

fn pack(codec: Compression, level: Option<i32>, src: &[u8]) -> Vec<u8> {
    let mut out = b"leftover".to_vec();
    compress(codec, level, src, &mut out).unwrap();
    out
}

fn text(size: usize) -> Vec<u8> {
    (0..)
        .flat_map(|line: u32| format!("line {line} {}\n", line.wrapping_mul(2_654_435_761)).into_bytes())
        .take(size)
        .collect()
}

fn unhex(hex: &str) -> Vec<u8> {
    (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn every_codec_round_trips(src in proptest::collection::vec(any::<u8>(), 0..100_000), repeat in 1usize..5) {
        let src = src.repeat(repeat);
        for codec in Compression::ALL {
            let packed = pack(codec, None, &src);
            prop_assert_eq!(&unpack(codec, &packed, src.len()).unwrap(), &src, "{:?}", codec);
        }
    }

    #[test]
    fn random_bytes_are_refused_or_read(src in proptest::collection::vec(any::<u8>(), 0..2_000)) {
        for codec in Compression::ALL {
            if let Ok(out) = unpack(codec, &src, 10_000) {
                prop_assert!(out.len() <= 10_000);
            }
        }
    }
}

#[test]
fn the_ceiling_is_exact_for_every_codec() {
    for size in [1, 1000, 65_536, 300_000] {
        let src = text(size);
        for codec in Compression::ALL {
            let packed = pack(codec, None, &src);
            assert_eq!(unpack(codec, &packed, size).unwrap(), src, "{codec:?} {size}");
            let error = unpack(codec, &packed, size - 1).unwrap_err();
            assert_eq!(error, CompressionError::TooLarge { codec, max: size - 1 }, "{size}");
        }
    }
}

#[test]
fn a_bomb_stops_at_the_ceiling_and_allocates_no_more() {
    let zeros = vec![0; 8 << 20];
    for codec in [Compression::Gzip, Compression::Snappy, Compression::Lz4, Compression::Zstd] {
        let packed = pack(codec, None, &zeros);
        let mut out = Vec::new();
        let max = 1 << 20;
        let result = decompress(codec, &packed, max, &mut out);
        assert_eq!(result, Err(CompressionError::TooLarge { codec, max }));
        assert!(out.capacity() <= 2 * max, "{codec:?} took {}", out.capacity());
    }
}

#[test]
fn truncated_input_is_refused() {
    let src = text(100_000);
    for codec in [Compression::Gzip, Compression::Snappy, Compression::Lz4, Compression::Zstd] {
        let packed = pack(codec, None, &src);
        for cut in [packed.len() - 1, packed.len() / 2, 20, 5, 1] {
            let result = unpack(codec, &packed[..cut], 1 << 20);
            assert!(result.is_err(), "{codec:?} cut at {cut} gave {} bytes", result.unwrap().len());
        }
    }
}

#[test]
fn levels_are_applied_or_refused() {
    let src = text(200_000);
    let size = |codec, level| pack(codec, Some(level), &src).len();
    assert!(size(Compression::Gzip, 9) < size(Compression::Gzip, 1));
    assert!(size(Compression::Zstd, 19) < size(Compression::Zstd, 1));
    assert_eq!(size(Compression::Gzip, -1), pack(Compression::Gzip, None, &src).len());
    let mut out = Vec::new();
    assert!(compress(Compression::Gzip, Some(10), &src, &mut out).is_err());
    assert!(compress(Compression::Zstd, Some(99), &src, &mut out).is_err());
}

// Written by other programs: Python's gzip (two members), lz4 -BD -BX --content-size, lz4 from a pipe, zstd --check
// from a pipe.
#[test]
fn what_other_programs_wrote_is_read() {
    let cases = [
        (
            Compression::Gzip,
            "1f8b08000000000002034bce28cacfcbcc5648a6120d003551e705500000001f8b08000000000002034bce28cacfcbcc5648a6120d003551e70550000000",
        ),
        (
            Compression::Lz4,
            "04224d187c40a00000000000000051120000008f6368726f6e696b20080080506f6e696b20f17758c50000000007ce6138",
        ),
        (Compression::Lz4, "04224d186440a7120000008f6368726f6e696b20080080506f6e696b200000000007ce6138"),
        (Compression::Zstd, "28b52ffd04587d0000406368726f6e696b2001009551850b6b2c1ebe"),
    ];
    for (codec, hex) in cases {
        assert_eq!(unpack(codec, &unhex(hex), 160).unwrap(), b"chronik ".repeat(20), "{hex}");
    }
}

#[test]
fn gzip_members_may_repeat() {
    let joined =
        [pack(Compression::Gzip, None, b"hello "), pack(Compression::Gzip, Some(9), b"world")].concat();
    assert_eq!(unpack(Compression::Gzip, &joined, 100).unwrap(), b"hello world");
}

#[test]
fn zstd_frames_may_repeat_and_need_not_say_their_size() {
    let src = text(500_000);
    // A streaming encoder does not know the size when it writes the frame header.
    let streamed = zstd::stream::encode_all(&src[..], 3).unwrap();
    assert_eq!(zstd::zstd_safe::get_frame_content_size(&streamed).unwrap(), None);
    let joined =
        [streamed, pack(Compression::Zstd, None, b"tail"), zstd::stream::encode_all(&b"!"[..], 1).unwrap()]
            .concat();
    let expected = [&src[..], b"tail!"].concat();
    assert_eq!(unpack(Compression::Zstd, &joined, 1 << 20).unwrap(), expected);
    assert!(matches!(unpack(Compression::Zstd, &joined, 1000), Err(CompressionError::TooLarge { .. })));
}

#[test]
fn a_zstd_frame_of_the_highest_level_is_read() {
    let src = text(300_000);
    let streamed = zstd::stream::encode_all(&src[..], 22).unwrap();
    assert_eq!(unpack(Compression::Zstd, &streamed, src.len()).unwrap(), src);
}

#[test]
fn zeros_that_compress_best_are_still_within_the_bound_assumed() {
    let zeros = vec![0; 8 << 20];
    for level in [1, 3, 19] {
        let streamed = zstd::stream::encode_all(&zeros[..], level).unwrap();
        assert!(max_zstd_output(&streamed) >= zeros.len(), "{level}: {} bytes", streamed.len());
        assert_eq!(unpack(Compression::Zstd, &streamed, zeros.len()).unwrap().len(), zeros.len());
    }
    for codec in [Compression::Snappy, Compression::Lz4, Compression::Gzip] {
        assert_eq!(unpack(codec, &pack(codec, None, &zeros), zeros.len()).unwrap().len(), zeros.len());
    }
}

#[test]
fn snappy_is_read_raw_and_framed_and_written_framed() {
    let src = text(100_000);
    let raw = snap::raw::Encoder::new().compress_vec(&src).unwrap();
    assert_eq!(unpack(Compression::Snappy, &raw, src.len()).unwrap(), src);
    let framed = pack(Compression::Snappy, None, &src);
    assert_eq!(framed[..16], [0x82, b'S', b'N', b'A', b'P', b'P', b'Y', 0, 0, 0, 0, 1, 0, 0, 0, 1]);
    // xerial's streams may be joined, headers and all.
    let joined = [framed, pack(Compression::Snappy, None, b"tail")].concat();
    assert_eq!(unpack(Compression::Snappy, &joined, 1 << 20).unwrap(), [&src[..], b"tail"].concat());
    assert_eq!(unpack(Compression::Snappy, &pack(Compression::Snappy, None, b""), 0).unwrap(), b"");
}

#[test]
fn a_snappy_length_that_its_bytes_cannot_hold_is_not_believed() {
    // Announces 4 GB - 1.
    let bytes = [0xff, 0xff, 0xff, 0xff, 0x0f, 0, 1];
    let mut out = Vec::new();
    assert!(decompress(Compression::Snappy, &bytes, usize::MAX, &mut out).is_err());
    assert_eq!(out.capacity(), 0);
}

#[test]
fn lz4_frames_of_every_kind_are_read() {
    use lz4_flex::frame::{BlockMode, BlockSize, FrameEncoder, FrameInfo};
    let src = text(3 << 20);
    for mode in [BlockMode::Independent, BlockMode::Linked] {
        for size in [BlockSize::Max64KB, BlockSize::Max256KB, BlockSize::Max1MB, BlockSize::Max4MB] {
            for checksums in [false, true] {
                let info = FrameInfo::new()
                    .block_mode(mode)
                    .block_size(size)
                    .block_checksums(checksums)
                    .content_checksum(checksums)
                    .content_size(checksums.then_some(src.len() as u64));
                let mut encoder = FrameEncoder::with_frame_info(info, Vec::new());
                encoder.write_all(&src).unwrap();
                let mut packed = encoder.finish().unwrap();
                assert!(unpack(Compression::Lz4, &packed, src.len()).unwrap() == src, "{mode:?} {size:?}");
                if checksums {
                    let last = packed.len() - 1;
                    packed[last] ^= 1;
                    assert!(
                        unpack(Compression::Lz4, &packed, src.len()).is_err(),
                        "the checksum was not looked at"
                    );
                }
            }
        }
    }
}

#[test]
fn lz4_frames_may_repeat_and_incompressible_blocks_are_stored() {
    let noise: Vec<u8> =
        (0..200_000u64).map(|n| (n.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 56) as u8).collect();
    let skippable = [&0x184D_2A53u32.to_le_bytes()[..], &3u32.to_le_bytes(), b"xyz"].concat();
    let joined =
        [pack(Compression::Lz4, None, &noise), skippable, pack(Compression::Lz4, None, b"tail")].concat();
    assert_eq!(unpack(Compression::Lz4, &joined, 1 << 20).unwrap(), [&noise[..], b"tail"].concat());
}

// The layout Kafka's Java client writes: FLG 0x60, BD 0x40, and the header checksum that belongs to them.
#[test]
fn the_lz4_header_is_the_java_clients() {
    let packed = pack(Compression::Lz4, None, b"hello");
    assert_eq!(packed[..7], [0x04, 0x22, 0x4d, 0x18, 0x60, 0x40, 0x82]);
    assert_eq!(packed[packed.len() - 4..], [0; 4]);
}
