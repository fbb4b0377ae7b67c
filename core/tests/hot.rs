//! The hot path as a whole: several planes, wired together in one process by a network whose every
//! step a test decides.

mod hot {
    mod acknowledging;
    mod conduct;
    mod directed;
    mod network;
    mod publishing;
    mod recorder;
    mod refusing;
    mod sealing;
    mod stalls;
    mod threads;
    mod ways;
}
