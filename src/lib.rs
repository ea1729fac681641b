//! ringcast opens one AceStream session per channel and fans its MPEG-TS out to any number of players.
