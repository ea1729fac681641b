#!/bin/sh
# Makes picture.ts, the test card that the emulator's picture source loops without a seam.
#
# 24 s tile exactly: 600 video frames of 40 ms and 1 125 AAC frames of 1 024 samples at 48 kHz.
# Video: closed GOPs of 1 s, no B-frames. Audio: three loops are encoded and the middle one is
# taken, so that its first frame overlaps its last as if the signal had never begun (frame 0 is
# the encoder's priming, hence 1126 and not 1125). Small audio PES, PAT and PMT before every
# access unit. White square and beep come together at every full second.
set -eu
cd "$(dirname "$0")"
work=$(mktemp -d)
trap 'rm -r "$work"' EXIT
font=${FONT:-/usr/share/fonts/truetype/dejavu/DejaVuSansMono-Bold.ttf}
quiet="-hide_banner -loglevel error -nostdin"

ffmpeg $quiet \
  -f lavfi -i "smptehdbars=s=640x360:r=25:d=24" \
  -f lavfi -i "color=c=white:s=40x40:r=25:d=24" \
  -f lavfi -i "color=c=0xff8800:s=8x14:r=25:d=24" \
  -filter_complex "
    [0]drawbox=x=112:y=96:w=416:h=128:color=0x101418@0.92:t=fill,
    drawtext=fontfile=$font:text='ringcast':fontsize=40:fontcolor=white:x=(w-tw)/2:y=106,
    drawtext=fontfile=$font:text='test card':fontsize=18:fontcolor=0xff8800:x=(w-tw)/2:y=150,
    drawtext=fontfile=$font:text='%{pts\:hms}  frame %{eif\:n\:d\:3}':fontsize=22:fontcolor=white:x=146:y=186[card];
    [card][1]overlay=x=470:y=108:enable='lt(mod(t,1),0.12)'[flash];
    [flash][2]overlay=x='112+408*mod(t,4)/4':y=222" \
  -frames:v 600 -c:v libx264 -profile:v main -level 3.0 -preset veryslow -pix_fmt yuv420p \
  -b:v 300k -maxrate 330k -bufsize 300k \
  -x264-params "keyint=25:min-keyint=25:scenecut=0:bframes=0:open-gop=0:aud=1:repeat-headers=1:force-cfr=1" \
  -f h264 "$work/video.h264"

ffmpeg $quiet \
  -f lavfi -i "aevalsrc='0.25*sin(2*PI*1000*t)*clip(min(mod(t,1),0.12-mod(t,1))*200,0,1)':s=48000:d=72" \
  -c:a aac -b:a 48k -ac 1 -f adts "$work/three.aac"
ffmpeg $quiet -i "$work/three.aac" -c copy -bsf:a "noise=drop='not(between(n,1126,2250))'" \
  -f adts "$work/audio.aac"

ffmpeg $quiet -framerate 25 -i "$work/video.h264" -i "$work/audio.aac" -c copy \
  -fflags +bitexact -metadata service_name="ringcast test card" -metadata service_provider=ringcast \
  -muxdelay 0.4 -pcr_period 20 -pes_payload_size 0 -mpegts_flags +pat_pmt_at_frames \
  -f mpegts -y picture.ts
ls -l picture.ts
