//! Assigns files to lanes: the files of a lane don't overlap in time, and there are as many lanes
//! as files overlap at most.

use super::error::SourceError;
use super::input_file::InputFile;
use super::records::PartitionId;

/// Maximum number of lanes, since each keeps a file open.
pub const MOST: usize = 256;

/// A file of a lane.
#[derive(Debug, Clone)]
pub struct LaneFile {
    /// The file.
    pub file: InputFile,
    /// Offset of its first line, if known before the earlier files are read.
    pub start: Option<i64>,
}

/// The files of one partition, in order.
#[derive(Debug, Clone)]
pub struct FileLane {
    /// The partition.
    pub partition: PartitionId,
    /// Its files; completely read ones may be missing.
    pub files: Vec<LaneFile>,
    /// Everything is read.
    pub finished: bool,
}

/// The event times of a file. A file without events fits into any lane. Nothing can follow a file
/// whose end is unknown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileTimes {
    /// Time of the first event.
    pub first: Option<i64>,
    /// Time of the last event.
    pub last: Option<i64>,
    /// A stream: its times are unknown, and it gets its own lane.
    pub stream: bool,
}

/// Assigns each file, in order of its first event, to the first lane that has ended by then. `ends`
/// holds the end of each lane, and grows with new lanes. Returns the lane number of each file.
///
/// # Errors
/// When more than [`MOST`] files overlap.
pub fn assign(ends: &mut Vec<i64>, files: &[FileTimes]) -> Result<Vec<usize>, SourceError> {
    let mut lanes = Vec::with_capacity(files.len());
    for file in files {
        let end = match file {
            FileTimes { stream: true, .. } => i64::MAX,
            FileTimes { first: None, .. } => i64::MIN,
            FileTimes { last, .. } => last.unwrap_or(i64::MAX),
        };
        let free = |e: &i64| !file.stream && *e != i64::MAX && file.first.is_none_or(|first| *e <= first);
        let lane = match ends.iter().position(free) {
            Some(lane) => lane,
            None => {
                ends.push(i64::MIN);
                ends.len() - 1
            }
        };
        ends[lane] = ends[lane].max(end);
        lanes.push(lane);
    }
    if ends.len() > MOST {
        return Err(SourceError::TooManyLanes { overlap: ends.len(), most: MOST });
    }
    Ok(lanes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(first: i64, last: i64) -> FileTimes {
        FileTimes { first: Some(first), last: Some(last), stream: false }
    }

    #[test]
    fn files_that_follow_each_other_share_a_lane() {
        let mut ends = Vec::new();
        let hours: Vec<FileTimes> = (0..2_000).map(|h| file(h, h + 1)).collect();
        assert!(assign(&mut ends, &hours).unwrap().iter().all(|l| *l == 0));
        assert_eq!(ends, [2_000]);
    }

    #[test]
    fn there_are_as_many_lanes_as_files_overlap() {
        let mut ends = Vec::new();
        // Three hosts with a file a day, and one file over all days.
        let mut files = vec![file(0, 400)];
        files.extend((0..4).flat_map(|d| (0..3).map(move |h| file(100 * d + h, 100 * d + 90 + h))));
        let lanes = assign(&mut ends, &files).unwrap();
        assert_eq!(lanes, [0, 1, 2, 3, 1, 2, 3, 1, 2, 3, 1, 2, 3]);
        assert_eq!(assign(&mut ends, &[file(392, 500), file(400, 500)]).unwrap(), [1, 0], "more may follow");
    }

    #[test]
    fn what_has_no_times_fits_everywhere_and_a_stream_nowhere() {
        let mut ends = Vec::new();
        let (none, stream) = (
            FileTimes { first: None, last: None, stream: false },
            FileTimes { first: None, last: None, stream: true },
        );
        let open = FileTimes { first: Some(5), last: None, stream: false };
        assert_eq!(assign(&mut ends, &[none, none, file(0, 5), stream, open]).unwrap(), [0, 0, 0, 1, 0]);
        assert_eq!(assign(&mut ends, &[none, file(9, 10)]).unwrap(), [2, 2], "both lanes may go on for ever");
    }

    #[test]
    fn too_many_at_once_are_counted() {
        let files: Vec<FileTimes> = (0..300).map(|n| file(n, 1_000)).collect();
        let error = assign(&mut Vec::new(), &files).unwrap_err().to_string();
        assert!(error.starts_with("300 of the input files overlap"), "{error}");
    }
}
