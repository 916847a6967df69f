#!/bin/bash
# Makes clips of 6 s in the forms that versions of FFmpeg are apt to read differently: every codec that the
# machine's ffmpeg can write, edit lists, fragments, open GOPs, rotations, odd frame times, cut files.
# usage: tests/distros/clips.sh DIR. Does nothing when they were made by this very script.
set -uo pipefail
me=$(sha256sum "$0")
[ "$me" = "$(cat "$1/.by" 2>/dev/null)" ] && exit 0
rm -rf "$1" && mkdir -p "$1" && cd "$1" || exit 1

picture='testsrc2=size=320x180:rate=25:duration=6'
sweep='0.3*sin(2*PI*(300+200*t)*t)+0.1*random(0)*lt(mod(t,1),.2)'
sound="aevalsrc='$sweep|0.3*sin(2*PI*440*t)':s=44100:d=6"

run() {
    ffmpeg -nostdin -loglevel error -y "$@" 2>>.errors || { echo "clips.sh: not made: ${*: -1}" && rm -f "${*: -1}"; }
}
make() { # FILE arguments: from the test picture and sound
    local file=$1
    shift
    run -f lavfi -i "$picture" -f lavfi -i "$sound" -threads 1 -fflags +bitexact \
        -flags:v +bitexact -flags:a +bitexact "$@" "$file"
}
again() { # FILE arguments: from full.mp4, or from $from, without encoding
    local file=$1
    shift
    run "${before[@]}" -i "${from:-full.mp4}" -c copy "$@" "$file"
}
before=()
h264=(-c:v libx264 -preset veryfast -g 25 -pix_fmt yuv420p)

# Pictures
make hevc.mp4 -c:v libx265 -x265-params log-level=error:keyint=25 -pix_fmt yuv420p -an
make hevc_open.mp4 -c:v libx265 -x265-params log-level=error:keyint=25:open-gop=1:bframes=4 \
    -pix_fmt yuv420p -an
make vp8.webm -c:v libvpx -g 25 -an
make vp9.webm -c:v libvpx-vp9 -g 25 -an
make vp9_alpha.webm -c:v libvpx-vp9 -pix_fmt yuva420p -an
make av1.mp4 -c:v libsvtav1 -preset 10 -g 50 -pix_fmt yuv420p -an
make av1.webm -c:v libaom-av1 -cpu-used 8 -g 50 -an
for codec in mpeg4 msmpeg4v2 msmpeg4 wmv1 wmv2 flv mpeg2video mpeg1video; do
    make $codec.avi -c:v $codec -q:v 4 -g 12 -pix_fmt yuv420p -an
done
make mjpeg.avi -c:v mjpeg -q:v 4 -pix_fmt yuvj420p -an
make h263.3gp -c:v h263 -s 352x288 -q:v 4 -an
make prores.mov -c:v prores -an
make theora.ogv -c:v libtheora -q:v 6 -an
make raw.avi -c:v rawvideo -pix_fmt yuv420p -t 1 -an
make raw.m2v -c:v mpeg2video -q:v 4 -r 30 -an
make raw.m1v -c:v mpeg1video -q:v 4 -an
make ntsc.mpg -c:v mpeg2video -q:v 4 -r 30000/1001 -c:a mp2
make fields.vob -c:v mpeg2video -q:v 4 -r 50 -c:a ac3
make mpeg2_open.ts -c:v mpeg2video -bf 2 -g 15 -q:v 4 -an
make b_frames.ts "${h264[@]}" -bf 3 -c:a aac
make interlaced.ts "${h264[@]}" -flags:v +ildct+ilme -x264opts tff=1 -c:a ac3
make 10bit.mkv "${h264[@]}" -pix_fmt yuv420p10le -an
make 422.mkv "${h264[@]}" -pix_fmt yuv422p -an
make gray.mkv "${h264[@]}" -pix_fmt gray -an
make full_range.mkv "${h264[@]}" -pix_fmt yuvj420p -an
make slower.mkv "${h264[@]}" -vf "setpts='if(lt(T,3),PTS,PTS*2)'" -vsync vfr -an
make uneven.mkv "${h264[@]}" -bf 2 -vf "setpts='PTS+0.01/TB*mod(N,3)'" -vsync vfr -an
make all_keys.mp4 "${h264[@]}" -x264-params keyint=1 -an
make one_key.mp4 "${h264[@]}" -g 9999 -an
for file in open.mp4 open.ts open.mkv; do
    make h264_$file "${h264[@]}" -x264-params open-gop=1:keyint=30:bframes=3:scenecut=0 -c:a mp2
done
make h264_pyramid.mkv "${h264[@]}" \
    -x264-params open-gop=1:keyint=30:bframes=5:b-pyramid=normal:ref=4 -an
make h264_refresh.ts "${h264[@]}" -x264-params intra-refresh=1:keyint=30 -an
for file in mp4 mkv; do # without the message that says where a decoder may start
    from=h264_open.mp4 again h264_no_sei.$file -bsf:v filter_units=remove_types=6
done

# Sound
for rate in 8000 11025 16000 22050 32000 48000; do
    make aac_$rate.mp4 -vn -c:a aac -ar $rate -b:a 64k
done
make aac.m4a -vn -c:a aac -ac 1
make aac.aac -vn -c:a aac
make aac51.mp4 -vn -c:a aac -ac 6
make aac_short.mp4 -vn -c:a aac -t 0.3
for rate in 22050 44100 48000; do
    make mp3_$rate.mp3 -vn -c:a libmp3lame -ar $rate
done
make mp3.mp4 -vn -c:a libmp3lame
make mp3.avi "${h264[@]}" -c:a libmp3lame
make mp3_bare.mp3 -vn -c:a libmp3lame -write_xing 0
make mp3_short.mp3 -vn -c:a libmp3lame -t 0.2
make mp2.mp2 -vn -c:a mp2
for file in webm ogg mp4 mkv; do
    make opus.$file -vn -c:a libopus
done
make opus_short.webm -vn -c:a libopus -t 0.3
for file in webm ogg mkv; do
    make vorbis.$file -vn -c:a libvorbis
done
make vorbis_native.mkv -vn -c:a vorbis -strict -2
make ac3.mkv "${h264[@]}" -c:a ac3
make ac3.mp4 -vn -c:a ac3
make ac3_51.ts "${h264[@]}" -c:a ac3 -ac 6
make eac3.mp4 -vn -c:a eac3
make flac.flac -vn -c:a flac
make flac24.mkv -vn -c:a flac -sample_fmt s32
make flac.ogg -vn -c:a flac
make alac.m4a -vn -c:a alac
make wmav1.wma -vn -c:a wmav1
make wmav2.wmv -c:v wmv2 -c:a wmav2
for codec in pcm_s16le pcm_u8 pcm_s24le pcm_s32le pcm_f32le pcm_mulaw pcm_alaw adpcm_ms adpcm_ima_wav; do
    make $codec.wav -vn -c:a $codec
done
make pcm_s16be.mov -vn -c:a pcm_s16be
make pcm_96k.wav -vn -c:a pcm_s16le -ar 96000
make pcm_8ch.wav -vn -c:a pcm_s16le -ac 8
make mp3.flv -c:v flv -c:a libmp3lame
for codec in dca truehd mlp; do
    make $codec.mkv -vn -c:a $codec -strict -2
done
make latm.ts -vn -c:a aac -mpegts_flags latm
make adpcm_ima_qt.mov -vn -c:a adpcm_ima_qt
make pcm_bluray.m2ts -vn -c:a pcm_bluray -ar 48000
make out_of_phase.wav -vn -c:a pcm_s16le -af 'pan=stereo|c0=c0|c1=-1*c0'
make pcm_16ch.wav -vn -c:a pcm_s16le -af 'pan=16c|c0=c0|c9=c1'

# Single pictures, and those that move
for file in png jpg webp; do
    make still.$file -an -frames:v 1
done
make still.avif -an -frames:v 1 -c:v libaom-av1 -cpu-used 8 -still-picture 1
make still.mp4 "${h264[@]}" -an -frames:v 1
make moving.gif -an -r 10
make moving.png -an -c:v apng -f apng
make qtrle.mov -an -c:v qtrle -t 2
make gbr.mkv -an -c:v libx264rgb -preset veryfast -g 25
make hevc_fields.mkv -an -c:v libx265 -x265-params log-level=error:interlace=tff:keyint=26

# What containers say of the same packets: edit lists, fragments, other clocks, ends that are missing
make full.mp4 "${h264[@]}" -bf 2 -c:a aac -b:a 96k
for file in copy.flv copy.mkv copy.m2ts copy.mov; do
    again $file
done
before=(-ss 1.7 -t 3)
for file in cut.mp4 cut.mov cut.mkv; do
    again $file
done
from=opus.webm again cut_opus.webm
from=aac_48000.mp4 again cut_aac.mp4
from=h264_open.ts again cut_open.ts
for flags in frag_keyframe+empty_moov+delay_moov cmaf dash frag_every_frame+delay_moov frag_keyframe; do
    before=()
    again fragments_$flags.mp4 -movflags $flags
    before=(-ss 1.7 -t 3)
    again fragments_cut_$flags.mp4 -movflags $flags
done
before=(-t 0.3)
again fragments_short.mp4 -movflags frag_keyframe+delay_moov
before=(-itsoffset -0.5)
again early.mp4 -avoid_negative_ts disabled
again fragments_early.mp4 -avoid_negative_ts disabled -movflags frag_keyframe+delay_moov
before=(-itsoffset 0.5)
again late.mp4 -avoid_negative_ts disabled
before=()
for turn in 90 180 270; do
    again turned_$turn.mov -metadata:s:v rotate=$turn
done
again faststart.mp4 -movflags faststart
head -c 60000 full.mp4 >broken_no_index.mp4
head -c 90000 faststart.mp4 >broken_end.mp4
head -c 90000 copy.mkv >broken_end.mkv
echo "$me" >.by
